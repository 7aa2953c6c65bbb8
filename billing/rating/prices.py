"""Which price and which terms are in force when: reads only.

Of two prices a cluster's own counts before that of all clusters; where neither has a row, the settings' does, in their
currency. The first price that is set, and the first month that is closed, make a row of that one, so that changed
settings never change a month that was rated.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

from django.conf import settings
from django.db.models import Q

from billing.models import BillingAccount, Price, Terms
from egress.control.models import Cluster
from portal.accounts.models import Team

from .facts import Period, Tariff

#: When the settings' price began, as far as anybody cares.
EVER = datetime(2000, 1, 1, tzinfo=UTC)
HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The prices in one currency that are in force at some time between two others."""

    rows: Sequence[Price]

    def at(self, cluster_id: int | None, at: datetime) -> Price | None:
        """Return the price of a cluster at one moment; None where there is none."""
        there = [row for row in self.rows if row.cluster_id in {None, cluster_id} and _in_force(row, at)]
        # A row's start is compared too, so that the answer is one and the same should rows ever overlap.
        return max(there, key=lambda row: (row.cluster_id is not None, row.pk is not None, row.starts_at), default=None)

    def tariffs(self, cluster_id: int, periods: Iterable[Period]) -> list[Tariff | None]:
        """Return what rating must know of a cluster's prices in each of `periods`."""
        return [_tariff(self.at(cluster_id, period.begin)) for period in periods]


def price_at(cluster: Cluster, currency: str, at: datetime) -> Price | None:
    """Return the price in force in `cluster` at `at`, maybe the settings', which has no row; None without any."""
    return price_book(currency, [cluster.pk], at, at).at(cluster.pk, at)


def price_book(currency: str, clusters: Collection[int], begin: datetime, end: datetime) -> PriceBook:
    """Read the prices of `clusters` in `currency` that are in force from `begin` to `end`. One query."""
    rows = Price.objects.filter(
        Q(cluster=None) | Q(cluster__in=clusters),
        Q(ends_at=None) | Q(ends_at__gt=begin),
        currency=currency,
        starts_at__lte=end,
    )
    return PriceBook([*rows, *([settings_price()] if currency == settings.BILLING_CURRENCY else [])])


def settings_price() -> Price:
    """Return the price that holds where no row does."""
    return Price(
        currency=settings.BILLING_CURRENCY,
        per_slot_hour=Decimal(settings.BILLING_PRICE_PER_SLOT_HOUR),
        cap_hours=settings.BILLING_CAP_HOURS,
        reason="the settings' price",
        starts_at=EVER,
    )


def currency_of(team: Team) -> str:
    """Return the currency that a team pays in."""
    chosen = BillingAccount.objects.filter(team=team).values_list("currency", flat=True).first()
    return chosen or settings.BILLING_CURRENCY


def terms_between(team: Team, begin: datetime, end: datetime) -> list[Terms]:
    """Return what was agreed with a team for any time from `begin` up to `end`."""
    return list(Terms.objects.filter(Q(ends_at=None) | Q(ends_at__gt=begin), team=team, starts_at__lt=end))


def periods_of(begin: datetime, end: datetime, book: PriceBook, terms: Sequence[Terms]) -> list[Period]:
    """Cut the time from `begin` up to `end` wherever a price or a term changes, at whole seconds."""
    rows: list[Price | Terms] = [*book.rows, *terms]
    turns = {turn.replace(microsecond=0) for row in rows for turn in (row.starts_at, row.ends_at) if turn}
    cuts = sorted({begin, end} | {turn for turn in turns if begin < turn < end})
    return [_period(since, until, terms) for since, until in pairwise(cuts)]


def _period(begin: datetime, end: datetime, terms: Sequence[Terms]) -> Period:
    agreed = max((row for row in terms if _in_force(row, begin)), key=lambda row: row.starts_at, default=None)
    if agreed is None:
        return Period(begin=begin, end=end)
    free = agreed.free_slot_hours * HOUR_SECONDS
    return Period(begin=begin, end=end, discount_percent=agreed.discount_percent, free_seconds=free)


def _in_force(row: Price | Terms, at: datetime) -> bool:
    """Say whether a row holds at `at`; its boundaries are floored to seconds, as those of usage are."""
    begun = row.starts_at.replace(microsecond=0) <= at
    return begun and (row.ends_at is None or at < row.ends_at.replace(microsecond=0))


def _tariff(price: Price | None) -> Tariff | None:
    if price is None:
        return None
    return Tariff(
        per_slot_hour=price.per_slot_hour,
        cap_hours=price.cap_hours,
        per_gib=Decimal(price.per_gib),
        included_gib=price.included_gib,
        price_id=price.pk,
    )
