"""The house's own columns, as CSV and as JSON Lines."""

import json
from collections.abc import Iterable

from .bills import Charge
from .cells import csv_row, money, stamp
from .pieces import Piece

#: What all pieces of a charge have in common; then what they don't.
CONSTANT = (
    "status",
    "month",
    "team",
    "team_name",
    "cluster",
    "region",
    "app",
    "app_id",
    "assignment_id",
    "gateway",
    "kind",
    "description",
    "statement_id",
    "line_id",
    "currency",
    "unit",
)
VARYING = ("begin", "end", "quantity", "amount")


class UsageCsv:
    """CSV: UTF-8, a header, rows that end as RFC 4180 says."""

    name = "usage"
    suffix = "csv"
    content_type = "text/csv; charset=utf-8"

    def header(self) -> str:
        """Return the columns' names."""
        return csv_row((*CONSTANT, *VARYING))

    def rows(self, charge: Charge, pieces: Iterable[Piece]) -> str:
        """Return a charge's rows."""
        begin = csv_row(constants_of(charge)).removesuffix("\r\n")
        return "".join(
            f"{begin},{stamp(piece.begin)},{stamp(piece.end)},{piece.quantity},{money(piece.amount)}\r\n"
            for piece in pieces
        )


class UsageJsonLines:
    """JSON Lines: an object a line; what isn't known is null. Amounts are numbers with all their decimals."""

    name = "usage"
    suffix = "jsonl"
    content_type = "application/x-ndjson"

    def header(self) -> str:
        """Return nothing: each line names its values."""
        return ""

    def rows(self, charge: Charge, pieces: Iterable[Piece]) -> str:
        """Return a charge's rows."""
        values = dict(zip(CONSTANT, constants_of(charge), strict=True))
        # In ASCII, for some readers end a line at U+2028, too.
        begin = json.dumps(values).removesuffix("}")
        return "".join(
            f'{begin}, "begin": "{stamp(piece.begin)}", "end": "{stamp(piece.end)}",'
            f' "quantity": {piece.quantity}, "amount": {money(piece.amount)}}}\n'
            for piece in pieces
        )


def constants_of(charge: Charge) -> tuple[str | None, ...]:
    """Return a charge's values in the order of `CONSTANT`."""
    bill, app, cluster = charge.bill, charge.app, charge.cluster
    return (
        "final" if bill.statement else "estimate",
        f"{bill.begin:%Y-%m}",
        bill.team.slug,
        bill.team.name,
        cluster.name if cluster else None,
        cluster.region if cluster else None,
        app.name if app else None,
        str(app.pk) if app else None,
        str(charge.assignment) if charge.assignment else None,
        gateway_of(charge),
        charge.kind.value,
        charge.description,
        str(bill.statement) if bill.statement else None,
        str(charge.line) if charge.line else None,
        bill.currency,
        charge.unit or None,
    )


def gateway_of(charge: Charge) -> str | None:
    """Return "A" or "B", as everywhere else."""
    return None if charge.slot is None else "AB"[charge.slot]
