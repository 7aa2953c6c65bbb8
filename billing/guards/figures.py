"""What one more app would add to a month."""

from datetime import datetime
from fractions import Fraction

from billing.rating import months
from billing.rating.money import to_cents
from billing.rating.prices import price_at
from egress.control.models import SLOTS, Cluster

HOUR_SECONDS = 3600


def rest_of_month_cents(cluster: Cluster, currency: str, now: datetime) -> int:
    """Return what an app in `cluster` comes to at most from `now` to the month's end; 0 where there is no price."""
    price = price_at(cluster, currency, now)
    if price is None:
        return 0
    left = int((months.end_of(months.month_of(now)) - now).total_seconds())
    seconds = min(left, price.cap_hours * HOUR_SECONDS)
    return to_cents(Fraction(price.per_slot_hour) * seconds / HOUR_SECONDS) * len(SLOTS)
