"""What guards and overviews ask of rating: one place, so that they name no more of it than they need."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Sum

from billing.models import StatementLine, UsageRecord
from egress.control.models import App, Assignment, Cluster, Wish
from portal.accounts.models import Team

# Until rating is there: the settings' price, nothing off.


@dataclass(frozen=True, kw_only=True)
class Draft:
    currency: str
    lines: list[Any]
    total_cents: int


def month_around(now: datetime) -> tuple[datetime, datetime]:
    begin = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin, (begin + timedelta(days=32)).replace(day=1)


def month_to_date(team: Team, now: datetime, upto: dict[Any, int] | None = None) -> Draft:
    begin, end = month_around(now)
    rows = UsageRecord.objects.filter(assignment__app__team=team, hour__gte=begin, hour__lt=end)
    sums = rows.order_by("assignment", "slot").values_list("assignment__app", "assignment__app__name", "assignment", "slot")
    apps = App.objects.filter(team=team).in_bulk()
    lines = []
    cap = settings.EGRESS_PRICE_CAP_HOURS * 3600
    for app, name, assignment, slot, used, out in sums.annotate(Sum("seconds"), Sum("outage_seconds")):
        charged = min(used + (upto or {}).get(assignment, 0), cap)
        exact = Decimal(settings.EGRESS_PRICE_CENTS_PER_MONTH) / 200 * charged / cap
        lines.append(
            StatementLine(
                kind="usage", app=apps[app], assignment_id=assignment, slot=slot, begin=begin, end=end, quantity=used,
                unit="second", exact=exact, cents=round(exact * 100), description=f"{name}, gateway {'AB'[slot]}",
                detail={"parts": [{"begin": begin.isoformat(), "end": end.isoformat(), "price": None, "seconds": used, "charged_seconds": charged, "free_seconds": 0, "cap_seconds": cap, "per_slot_hour": "0.01860119"}], "outage_seconds": out},
            )
        )
    return Draft(currency="USD", lines=lines, total_cents=sum(line.cents for line in lines))


def forecast_cents(team: Team, now: datetime) -> int:
    _, end = month_around(now)
    left = int((end - now).total_seconds())
    runs = Assignment.objects.filter(app__team=team, wish=Wish.ENABLED, status__in=("active", "distributing"))
    return month_to_date(team, now, dict.fromkeys(runs.values_list("pk", flat=True), left)).total_cents


def rest_of_month_cents(cluster: Cluster, currency: str, now: datetime) -> int:
    _, end = month_around(now)
    hours = min(Decimal((end - now).total_seconds()) / 3600, settings.EGRESS_PRICE_CAP_HOURS)
    return round(hours * settings.EGRESS_PRICE_CENTS_PER_MONTH / settings.EGRESS_PRICE_CAP_HOURS)
