"""What is stated beside a month's own use: earlier months put right, credits drawn, what is given back. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from . import months
from .facts import Key, Line
from .money import CENTS, in_words, to_decimal


class Said(NamedTuple):
    """What statements said so far about one key of a month, all together."""

    quantity: int
    exact: Decimal
    cents: int


class InHand(NamedTuple):
    """What is left of a credit."""

    credit_id: int
    cents: int
    reason: str


NOTHING = Said(0, Decimal(0), 0)


def corrections(month: date, now: Sequence[Line], said: Mapping[Key, Said]) -> list[Line]:
    """Return what brings what was `said` of `month` to what is known `now`: a line for each key that differs.

    Said and corrections together are then, to the cent, what would have been stated had all been known in time.
    """
    lines = {line.key: line for line in now}
    order = [*lines, *(key for key in said if key not in lines)]
    found = (_correction(month, key, lines.get(key), said.get(key, NOTHING)) for key in order)
    return [line for line in found if line is not None]


def _correction(month: date, key: Key, line: Line | None, said: Said) -> Line | None:
    due = Said(line.quantity, to_decimal(line.amount), line.cents) if line else NOTHING
    if (due.quantity, due.cents) == (said.quantity, said.cents):
        return None
    what = line.description if line else "nothing was used after all"
    return Line(
        kind="correction",
        description=f"{month:%Y-%m}, corrected: {what}"[:300],
        begin=months.begin_of(month),
        end=months.end_of(month),
        amount=Fraction(due.exact - said.exact),
        cents=due.cents - said.cents,
        app_id=line.app_id if line else None,
        assignment_id=key.assignment_id,
        slot=key.slot,
        quantity=due.quantity - said.quantity,
        unit=key.unit,
        detail={
            "said": {"quantity": said.quantity, "cents": said.cents},
            "due": {"quantity": due.quantity, "cents": due.cents},
            **(line.detail if line else {}),
        },
    )


def drawn(month: date, cents: int, credits_in_hand: Iterable[InHand], currency: str) -> list[Line]:
    """Return lines that pay `cents` from credits, in their order, as far as they go."""
    lines: list[Line] = []
    for credit in credits_in_hand:
        used = max(0, min(cents, credit.cents))
        if used:
            left = in_words(credit.cents - used, currency)
            lines.append(credit_line(month, -used, credit.credit_id, f"Credit ({credit.reason}); {left} is left"))
            cents -= used
    return lines


def credit_line(month: date, cents: int, credit_id: int | None, description: str) -> Line:
    """Return a line that draws from a credit, or, of positive cents, puts them into a new one."""
    return Line(
        kind="credit",
        description=description[:300],
        begin=months.begin_of(month),
        end=months.end_of(month),
        amount=Fraction(cents, CENTS),
        cents=cents,
        credit_id=credit_id,
    )
