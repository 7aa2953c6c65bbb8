"""What a team's month costs, line by line. Pure: the same facts give the same lines, to the cent.

1. A slot's seconds are taken in the order of time. While a price is in force, they are charged until those charged in
   the month make its cap; the cap is lowered by the share of the month in which both gateways were down.
2. Of what is charged, the team's first hours of the month are free, as far as its terms go: period by period, and
   within one slot by slot, in the order in which `uses` come.
3. Traffic beyond what a slot's month includes is charged in the order of time too.
4. The discount is taken off the rounded lines, all in one line.

More usage never costs less, and time never takes a charge back: only an outage does, which lowers the cap.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from typing import Any

from . import months
from .errors import PriceMissing
from .facts import Line, Period, SlotUse, Tariff
from .money import CENTS, to_cents, to_decimal
from .shares import share_out

HOUR_SECONDS = 3600
GIB = 2**30
#: In which rounded cents are shared out among a month's periods where discounts differ.
_FINE = 10**6


def rate(month: date, periods: Sequence[Period], uses: Iterable[SlotUse]) -> list[Line]:
    """Return the lines of `month`: for each slot of hours, of traffic if more than what is included, one of discount.

    Raises PriceMissing for what was used while there was no price.
    """
    every = [use for use in uses if any(use.seconds) or any(use.traffic)]
    charged = [charged_seconds(month, use) for use in every]
    free = free_seconds(periods, charged)
    lines: list[Line] = []
    discount = Fraction(0)
    for use, seconds, gratis in zip(every, charged, free, strict=True):
        for line, amounts in (_hours(month, periods, use, seconds, gratis), _traffic(periods, use)):
            if line is not None:
                lines.append(line)
                discount += _discount_on(line.cents, amounts, periods)
    return [*lines, *_discount(month, periods, discount)]


def cap_seconds(month: date, tariff: Tariff, outage_seconds: int) -> int:
    """Return how many seconds of a slot are charged in `month` at most: whole ones, in the customer's favour."""
    whole = months.seconds_of(month)
    return tariff.cap_hours * HOUR_SECONDS * (whole - outage_seconds) // whole


def charged_seconds(month: date, use: SlotUse) -> list[int]:
    """Return how many seconds of a slot are under the cap, period by period."""
    charged: list[int] = []
    for tariff, seconds in zip(use.tariffs, use.seconds, strict=True):
        limit = cap_seconds(month, tariff, use.outage_seconds) if tariff else 0
        charged.append(max(0, min(seconds, limit - sum(charged))))
    return charged


def free_seconds(periods: Sequence[Period], charged: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return how many of each slot's charged seconds cost nothing, period by period."""
    free = [[0] * len(periods) for _ in charged]
    taken = 0
    for number, period in enumerate(periods):
        for gratis, seconds in zip(free, charged, strict=True):
            gratis[number] = max(0, min(seconds[number], period.free_seconds - taken))
            taken += gratis[number]
    return free


def charged_bytes(use: SlotUse) -> list[int]:
    """Return how many bytes of a slot are beyond what its month includes, period by period."""
    charged: list[int] = []
    sent = 0
    for tariff, count in zip(use.tariffs, use.traffic, strict=True):
        included = tariff.included_gib * GIB if tariff else 0
        charged.append(max(0, count - max(0, included - sent)))
        sent += count
    return charged


def _hours(
    month: date, periods: Sequence[Period], use: SlotUse, charged: Sequence[int], free: Sequence[int]
) -> tuple[Line | None, list[Fraction]]:
    if not any(use.seconds):
        return None, []
    parts, amounts = [], []
    for period, tariff, used, under_cap, gratis in zip(periods, use.tariffs, use.seconds, charged, free, strict=True):
        price = _price(tariff, used, use, period)
        amounts.append(Fraction(price.per_slot_hour) * (under_cap - gratis) / HOUR_SECONDS if price else Fraction(0))
        if price and used:
            figures = {"seconds": used, "charged_seconds": under_cap - gratis, "free_seconds": gratis}
            cap = cap_seconds(month, price, use.outage_seconds)
            parts.append(
                _part(period, price) | figures | {"cap_seconds": cap, "per_slot_hour": str(price.per_slot_hour)}
            )
    seconds, paid = sum(use.seconds), sum(charged) - sum(free)
    description = f"{use.app_name}, gateway {'AB'[use.slot]}: {in_hours(seconds)} used, {in_hours(paid)} charged"
    detail = {"parts": parts, "outage_seconds": use.outage_seconds}
    return _of_slot(use, "usage", description, seconds, "second", amounts, detail), amounts


def _traffic(periods: Sequence[Period], use: SlotUse) -> tuple[Line | None, list[Fraction]]:
    charged = charged_bytes(use)
    parts, amounts = [], []
    for period, tariff, sent, beyond in zip(periods, use.tariffs, use.traffic, charged, strict=True):
        price = _price(tariff, sent, use, period)
        amounts.append(Fraction(price.per_gib) * beyond / GIB if price else Fraction(0))
        if price and sent:
            figures = {"bytes": sent, "charged_bytes": beyond, "included_gib": price.included_gib}
            parts.append(_part(period, price) | figures | {"per_gib": str(price.per_gib)})
    if not any(amounts):
        # All of it is included, or costs nothing: the bytes are in the traffic ledger.
        return None, []
    gib = f"{to_decimal(Fraction(sum(charged), GIB)):.3f}"
    description = f"{use.app_name}, gateway {'AB'[use.slot]}: {gib} GiB of traffic beyond what is included"
    return _of_slot(use, "traffic", description, sum(use.traffic), "byte", amounts, {"parts": parts}), amounts


def _price(tariff: Tariff | None, used: int, use: SlotUse, period: Period) -> Tariff | None:
    if tariff is None and used:
        raise PriceMissing(
            f"{use.app_name} used a gateway between {period.begin:%Y-%m-%d %H:%M:%S} and {period.end:%Y-%m-%d %H:%M:%S}"
            " UTC, for which there is no price in its team's currency: set one, or change the currency."
        )
    return tariff


def _part(period: Period, tariff: Tariff) -> dict[str, Any]:
    return {"begin": period.begin.isoformat(), "end": period.end.isoformat(), "price": tariff.price_id}


def _of_slot(
    use: SlotUse,
    kind: str,
    description: str,
    quantity: int,
    unit: str,
    amounts: Sequence[Fraction],
    detail: dict[str, Any],
) -> Line:
    amount = sum(amounts, Fraction(0))
    return Line(
        kind=kind,
        description=description,
        begin=use.begin,
        end=use.end,
        amount=amount,
        cents=to_cents(amount),
        app_id=use.app_id,
        assignment_id=use.assignment_id,
        slot=use.slot,
        quantity=quantity,
        unit=unit,
        detail=detail,
    )


def _discount_on(cents: int, amounts: Sequence[Fraction], periods: Sequence[Period]) -> Fraction:
    """Return what is taken off a line of `cents`, in units of the currency."""
    percents = [Fraction(period.discount_percent) for period in periods]
    if len(set(percents)) == 1:
        return Fraction(cents, CENTS) * percents[0] / 100
    shares = share_out(cents * _FINE, amounts)
    return sum(
        (Fraction(share, CENTS * _FINE) * of / 100 for share, of in zip(shares, percents, strict=True)), Fraction(0)
    )


def _discount(month: date, periods: Sequence[Period], amount: Fraction) -> list[Line]:
    if not amount:
        return []
    percents = [f"{period.discount_percent.normalize():f} %" for period in periods]
    parts = [
        {"begin": period.begin.isoformat(), "end": period.end.isoformat(), "percent": str(period.discount_percent)}
        for period in periods
    ]
    return [
        Line(
            kind="discount",
            description=f"Discount of {', then '.join(dict.fromkeys(percents))}",
            begin=months.begin_of(month),
            end=months.end_of(month),
            amount=-amount,
            cents=to_cents(-amount),
            detail={"parts": parts, "of": str(to_decimal(amount))},
        )
    ]


def in_hours(seconds: int) -> str:
    """Write seconds as people do, such as "671 h 59 min 3 s"."""
    hours, rest = divmod(seconds, HOUR_SECONDS)
    minutes, left = divmod(rest, 60)
    words = [f"{hours} h", f"{minutes} min" if minutes else "", f"{left} s" if left else ""]
    return " ".join(word for word in words if word)
