"""The price that is shown before anything is bought."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from django.conf import settings

CENT = Decimal("0.01")
HUNDREDTH_OF_A_CENT = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a pair of addresses costs, in dollars: `per_hour` until `cap_hours` have made `per_month`."""

    per_hour: Decimal
    per_month: Decimal
    cap_hours: int


def price_of(*, cents_per_month: int, cap_hours: int) -> Price:
    """Spread a monthly cap over the hours after which it is reached; the hour is rounded for show only."""
    per_month = Decimal(cents_per_month) * CENT
    per_hour = (per_month / cap_hours).quantize(HUNDREDTH_OF_A_CENT, ROUND_HALF_UP)
    return Price(per_hour=per_hour, per_month=per_month.quantize(CENT), cap_hours=cap_hours)


def current_price() -> Price:
    """Return the price in force."""
    return price_of(cents_per_month=settings.EGRESS_PRICE_CENTS_PER_MONTH, cap_hours=settings.EGRESS_PRICE_CAP_HOURS)
