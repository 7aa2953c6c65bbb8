"""What rating is told, and what it says: plain values, no rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """A price of one cluster in one period; amounts in units of the currency."""

    per_slot_hour: Decimal
    cap_hours: int
    per_gib: Decimal = Decimal(0)
    included_gib: int = 0
    #: None for the one of the settings.
    price_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A part of a month in which no price and no term of the team changes; a month's periods follow on each other."""

    begin: datetime
    end: datetime
    discount_percent: Decimal = Decimal(0)
    #: Of the month, all slots of the team together; what earlier periods took counts.
    free_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotUse:
    """What one slot used in one month. `tariffs`, `seconds` and `traffic` have one entry for each period."""

    app_id: UUID
    app_name: str
    assignment_id: UUID
    slot: int
    #: None where there is no price: an error only if something was used then.
    tariffs: Sequence[Tariff | None]
    seconds: Sequence[int]
    #: Bytes.
    traffic: Sequence[int]
    #: Of the whole month.
    outage_seconds: int
    #: From the first hour that is in it, to the end of the last.
    begin: datetime
    end: datetime


class Key(NamedTuple):
    """What a line is about: of a month there is one of each."""

    #: "second" of usage, "byte" of traffic, "" of the discount.
    unit: str
    assignment_id: UUID | None
    slot: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a statement: `amount` is exact, `cents` is rounded from it."""

    kind: str
    description: str
    begin: datetime
    end: datetime
    amount: Fraction
    cents: int
    app_id: UUID | None = None
    assignment_id: UUID | None = None
    slot: int | None = None
    credit_id: int | None = None
    quantity: int = 0
    unit: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Return what it is about."""
        return Key(self.unit, self.assignment_id, self.slot)
