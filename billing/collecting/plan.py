"""What to do next about a statement's invoice: a pure function of what is wanted and what Stripe has."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID, uuid5

from .seen import SeenInvoice, SeenItem

#: Stripe takes no more on one invoice.
MAX_ITEMS: Final = 250
#: And no longer descriptions than this on its pages.
MAX_DESCRIPTION: Final = 300


class Line(Protocol):
    """What is needed of a statement's line."""

    id: UUID
    description: str
    begin: datetime
    end: datetime
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of an invoice, as it should be. It stands for one line, or for the `lines` that found no room."""

    key: str
    description: str
    begin: datetime
    end: datetime
    cents: int
    lines: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The invoice as it should be."""

    statement: str
    currency: str
    total_cents: int
    items: tuple[Item, ...]
    #: A digest of its words.
    described: str


@dataclass(frozen=True, slots=True)
class Create:
    """Make the draft."""


@dataclass(frozen=True, slots=True)
class Add:
    """Put these items on it."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Describe:
    """Set its words, and whether taxes are computed."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Let Stripe collect it."""


@dataclass(frozen=True, slots=True)
class Follow:
    """It is out of our hands: see what becomes of it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Something doesn't add up: a person must look."""

    code: str
    message: str


Step = Create | Add | Describe | Finalize | Follow | Stop


def next_step(wanted: Wanted, seen: SeenInvoice | None, items: Sequence[SeenItem]) -> Step:
    """Return the one step to take now; `items` are those of a draft.

    Nothing is finalized before all items are there, no other is, and Stripe's own total equals the statement's.
    """
    if seen is None:
        return Create()
    if seen.statement != wanted.statement or seen.currency != wanted.currency:
        return Stop(
            "other_statement",
            f"Stripe's invoice {seen.id} of this month was made from the statement {seen.statement or '?'} in"
            f" {seen.currency}, not from {wanted.statement} in {wanted.currency}: was a backup restored? Compare them.",
        )
    if seen.status != "draft":
        return _check_total(wanted, seen) or Follow()
    return _complete(wanted, seen, items)


def _complete(wanted: Wanted, seen: SeenInvoice, items: Sequence[SeenItem]) -> Step:
    cents = {item.key: item.cents for item in wanted.items}
    for item, count in Counter(items).items():
        if count > 1 or cents.get(item.key) != item.cents:
            return Stop(
                "items_differ",
                f"Stripe's draft {seen.id} has {count} times {item.cents} cents for the line {item.key or '(none)'},"
                f" where the statement has {cents.get(item.key, 'nothing')}: delete the draft at Stripe, then retry.",
            )
    there = {item.key for item in items}
    missing = tuple(item for item in wanted.items if item.key not in there)
    if missing:
        return Add(missing)
    if stop := _check_total(wanted, seen):
        return stop
    return Finalize() if seen.described == wanted.described else Describe()


def _check_total(wanted: Wanted, seen: SeenInvoice) -> Stop | None:
    if seen.net_cents == wanted.total_cents:
        return None
    return Stop(
        "total_differs",
        f"Stripe's invoice {seen.id} ({seen.status}) comes to {seen.net_cents} cents before tax, the statement to"
        f" {wanted.total_cents}: look at its items, discounts and the customer's settings at Stripe.",
    )


def items_of(statement: UUID, lines: Iterable[Line], *, taxed: bool) -> tuple[Item, ...]:
    """Return the invoice's items: one for each line, under the line's id.

    Their sum is the lines'. What is more than Stripe takes is one item, the last. Where Stripe computes taxes it takes
    no negative items: then these lower the others, which say so.
    """
    items = [
        Item(key=str(line.id), description=line.description, begin=line.begin, end=line.end, cents=line.cents)
        for line in lines
    ]
    if taxed:
        items = _without_negative(items)
    return tuple(_short(item) for item in _folded(statement, items))


def _folded(statement: UUID, items: list[Item]) -> list[Item]:
    if len(items) <= MAX_ITEMS:
        return items
    kept, rest = items[: MAX_ITEMS - 1], items[MAX_ITEMS - 1 :]
    return [
        *kept,
        Item(
            key=str(uuid5(statement, "rest")),
            description=f"{len(rest)} more lines of the statement",
            begin=min(item.begin for item in rest),
            end=max(item.end for item in rest),
            cents=sum(item.cents for item in rest),
            lines=len(rest),
        ),
    ]


def _without_negative(items: list[Item]) -> list[Item]:
    """Take what is negative off the others, in their order; the sum must be positive."""
    off = -sum(item.cents for item in items if item.cents < 0)
    lowered = []
    for item in items:
        if item.cents < 0:
            continue
        part = min(off, item.cents)
        off -= part
        words = f" (after credits and discounts of {part // 100}.{part % 100:02d})" if part else ""
        lowered.append(replace(item, cents=item.cents - part, description=item.description + words))
    return lowered


def _short(item: Item) -> Item:
    if len(item.description) <= MAX_DESCRIPTION:
        return item
    return replace(item, description=item.description[: MAX_DESCRIPTION - 1] + "…")
