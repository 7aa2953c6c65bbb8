"""What each app came to in a finished month beside what its servers cost: an estimate, for operators.

Charged is what statements say of the month, with what later ones corrected of it; a team's discount is shared out over
its apps by what each came to. Credits aren't taken off: they pay for a charge. The cost is worked out from the rows of
gateways and the table of prices in the settings, by the cluster's present size. What isn't known of single apps isn't
in it: overage of the account's pooled transfer, taxes, the provider's discounts, and the control plane itself.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from django.conf import settings
from django.db.models import Q, Sum

from billing.models import StatementLine
from billing.rating import months
from billing.rating.shares import share_out
from egress.control import clock
from egress.control.models import App, Gateway

from .droplets import Cost, Server

Kind = StatementLine.Kind
#: Charged cents of apps: by app and currency.
_Charges = dict[UUID, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppMargin:
    """One app's month."""

    app_id: UUID
    #: By currency: an app has one, unless its team's was changed.
    charged: Mapping[str, int]
    cost: Cost

    @property
    def cents(self) -> int | None:
        """What is left, in the currency of costs; None where that can't be said: another currency, or no price."""
        return _left(self.charged, self.cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthMargin:
    """A month: the apps with the least left first, those of which it can't be said last; and all of them together."""

    month: date
    apps: tuple[AppMargin, ...]
    charged: Mapping[str, int]
    cost: Cost

    @property
    def cents(self) -> int | None:
        """What is left of all; None where that can't be said."""
        return _left(self.charged, self.cost)


def margin_of(month: date, cluster_id: int | None = None) -> MonthMargin:
    """Put a month's apps together, those of one cluster or all: three queries for any number of them."""
    charges, costs = _charges(month), _costs(month)
    there = charges.keys() | costs.keys()
    if cluster_id is not None:
        there &= set(App.objects.filter(cluster=cluster_id).order_by().values_list("pk", flat=True))
    apps = [AppMargin(app_id=app, charged=charges.get(app, {}), cost=costs.get(app, Cost())) for app in there]
    sums: dict[str, int] = defaultdict(int)
    total = Cost()
    for app in apps:
        for currency, cents in app.charged.items():
            sums[currency] += cents
        total.seconds += app.cost.seconds
        total.cents += app.cost.cents
        total.unpriced |= app.cost.unpriced
    apps.sort(key=lambda app: (app.cents is None, app.cents or 0, app.app_id))
    return MonthMargin(month=month, apps=tuple(apps), charged=dict(sums), cost=total)


def _left(charged: Mapping[str, int], cost: Cost) -> int | None:
    foreign = any(cents for currency, cents in charged.items() if currency != settings.BILLING_COST_CURRENCY)
    if foreign or cost.unpriced:
        return None
    return charged.get(settings.BILLING_COST_CURRENCY, 0) - cost.cents


def _charges(month: date) -> _Charges:
    # The statement's month too: it can't be earlier than its lines'.
    about = StatementLine.objects.filter(
        statement__month__gte=month, begin__gte=months.begin_of(month), begin__lt=months.end_of(month)
    ).exclude(kind=Kind.CREDIT)
    columns = ("statement__team", "statement__currency", "app")
    sums = about.order_by().values_list(*columns).annotate(Sum("cents"))
    charges: _Charges = defaultdict(dict)
    of_payers: dict[tuple[UUID, str], dict[UUID, int]] = defaultdict(dict)
    whole: list[tuple[tuple[UUID, str], int]] = []
    for team, currency, app, cents in sums:
        if app is None:
            whole.append(((team, currency), int(cents)))
        else:
            charges[app][currency] = int(cents)
            of_payers[team, currency][app] = max(0, int(cents))
    for payer, cents in whole:
        for app, share in _shared_out(cents, of_payers[payer]).items():
            charges[app][payer[1]] += share
    return dict(charges)


def _shared_out(cents: int, weights: Mapping[UUID, int]) -> dict[UUID, int]:
    if not any(weights.values()):
        return {}
    sign = -1 if cents < 0 else 1
    return {
        app: sign * share for app, share in zip(weights, share_out(abs(cents), list(weights.values())), strict=True)
    }


def _costs(month: date) -> dict[UUID, Cost]:
    begin, end = months.begin_of(month), min(months.end_of(month), clock.now())
    prices = {size: Decimal(price) for size, price in settings.BILLING_DROPLET_PRICES.items()}
    there = Gateway.objects.filter(Q(deleted_at=None) | Q(deleted_at__gt=begin), created_at__lt=end)
    # Of one that never got a server nothing is known to cost anything.
    rows = there.exclude(server_id="").order_by()
    costs: dict[UUID, Cost] = defaultdict(Cost)
    columns = ("assignment__app", "assignment__cluster__gateway_size", "created_at", "deleted_at")
    for app, size, created_at, deleted_at in rows.values_list(*columns).iterator():
        costs[app].add(Server(size=size, created_at=created_at, deleted_at=deleted_at), begin, end, prices)
    return dict(costs)
