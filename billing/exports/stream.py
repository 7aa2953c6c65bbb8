"""Write an export piece by piece, in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from egress.control.models import Cluster

from .bills import Bill, charges_of
from .cells import money
from .focus import Focus
from .gather import bills_in
from .pieces import Piece, pieces_of
from .prices import ListPrices
from .selection import Format, Grain, Selection
from .shape import Shape
from .usage import UsageCsv, UsageJsonLines

FORMATS: Mapping[Format, Shape] = {Format.CSV: UsageCsv(), Format.JSONL: UsageJsonLines(), Format.FOCUS: Focus()}
#: So many characters are handed on at once, at least.
CHUNK = 1 << 16


@dataclass(slots=True)
class Tally:
    """What was written: rows, and the sum of their amounts by currency, in millionths."""

    rows: int = 0
    amounts: Counter[str] = field(default_factory=Counter)

    def count(self, currency: str, pieces: list[Piece]) -> None:
        """Count these pieces, too."""
        self.rows += len(pieces)
        self.amounts[currency] += sum(piece.amount for piece in pieces)


def sums(amounts: Counter[str]) -> dict[str, str]:
    """Return amounts as decimal numbers, by currency."""
    return {currency: money(amount) for currency, amount in sorted(amounts.items())}


def write(selection: Selection, form: Format, grain: Grain, tally: Tally | None = None) -> Iterator[bytes]:
    """Yield the export of a selection, in UTF-8; `tally` is counted up on the way.

    A chunk has 64 KiB, and what the hours of one more line take at most: some 400 KiB.
    """
    return write_bills(bills_in(selection), form, grain, cluster=selection.cluster, tally=tally)


def write_bills(
    bills: Iterable[Bill],
    form: Format,
    grain: Grain,
    *,
    cluster: Cluster | None = None,
    tally: Tally | None = None,
) -> Iterator[bytes]:
    """Yield the export of some bills; with `cluster`, only what belongs to it."""
    texts, length = [FORMATS[form].header()], 0
    for text in _texts(bills, form, grain, cluster, tally or Tally()):
        texts.append(text)
        length += len(text)
        if length >= CHUNK:
            yield "".join(texts).encode()
            texts, length = [], 0
    yield "".join(texts).encode()


def _texts(bills: Iterable[Bill], form: Format, grain: Grain, cluster: Cluster | None, tally: Tally) -> Iterator[str]:
    listed: dict[datetime, ListPrices] = {}
    for bill in bills:
        if bill.begin not in listed:
            listed[bill.begin] = ListPrices(bill.begin, bill.end)
        prices = listed[bill.begin].at
        for charges in charges_of(bill):
            for charge in charges:
                if cluster is None or charge.cluster == cluster:
                    cluster_id = charge.cluster.pk if charge.cluster else None
                    pieces = list(pieces_of(charge, grain, partial(prices, cluster_id, bill.currency)))
                    tally.count(bill.currency, pieces)
                    yield FORMATS[form].rows(charge, pieces)
