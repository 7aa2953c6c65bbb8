"""The price that is shown before anything is bought."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from billing.rating.prices import currency_of, price_at
from egress.control import clock
from egress.control.models import SLOTS, App

CENT = Decimal("0.01")
HUNDREDTH_OF_A_CENT = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a pair of addresses costs: `per_hour` until `cap_hours` have made `per_month`, both rounded for show."""

    #: "$", or the currency's code and a blank.
    sign: str
    per_hour: Decimal
    per_month: Decimal
    cap_hours: int


def price_of(*, per_slot_hour: Decimal, cap_hours: int, currency: str) -> Price:
    """Put the price of a gateway slot's hour in terms of an app, which has two; each slot's month is rounded alone."""
    return Price(
        sign="$" if currency == "USD" else f"{currency} ",
        per_hour=(per_slot_hour * len(SLOTS)).quantize(HUNDREDTH_OF_A_CENT, ROUND_HALF_EVEN),
        per_month=(per_slot_hour * cap_hours).quantize(CENT, ROUND_HALF_EVEN) * len(SLOTS),
        cap_hours=cap_hours,
    )


def current_price(app: App) -> Price | None:
    """Return the price in force for `app`; None where there is none in its team's currency."""
    currency = currency_of(app.team)
    price = price_at(app.cluster, currency, clock.now())
    if price is None:
        return None
    return price_of(per_slot_hour=price.per_slot_hour, cap_hours=price.cap_hours, currency=currency)
