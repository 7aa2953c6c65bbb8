"""Put a team's month together, as its statement would be made now. Writes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.db.models import Q, Sum

from billing.models import Credit, StatementLine
from billing.rating import months
from billing.rating.errors import LedgerBusy
from billing.rating.facts import Key, Line
from billing.rating.money import to_decimal
from billing.rating.prices import currency_of
from billing.rating.settle import NOTHING, InHand, Said, corrections, credit_line, drawn
from egress.control.models import Assignment
from portal.accounts.models import Team

from .reading import Reading, read
from .usage import Mark, mark

#: How often a team's ledger is read again when rows were added meanwhile.
READINGS = 5
GIVEN_BACK = "Too much was charged for earlier months: kept as credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a statement would say; its lines are rows that aren't saved, in order."""

    team: Team
    month: date
    currency: str
    lines: Sequence[StatementLine]
    total_cents: int
    #: The ledgers' rows up to there are in it.
    mark: Mark

    @property
    def charges_cents(self) -> int:
        """Return what is charged before credits."""
        return sum(line.cents for line in self.lines if line.kind != StatementLine.Kind.CREDIT)


def drafts(team: Team, month: date, corrected: Iterable[date] = ()) -> list[Draft]:
    """Return what the team's statements of `month` would say now, one for each currency that has anything to say.

    `corrected` are earlier months of which more may be known than was stated. Raises PriceMissing, and LedgerBusy if
    rows were added each time that the ledgers were read.
    """
    for _ in range(READINGS):
        before = mark()
        found = _drafts(team, month, corrected, before)
        if mark() == before:
            return found
    raise LedgerBusy


def draft_of(
    team: Team, reading: Reading, currency: str, *, at: Mark | None = None, in_hand: Sequence[InHand] | None = None
) -> Draft:
    """Return what a month as it was read costs, without corrections of earlier ones; what isn't given is read."""
    return _settled(team, reading.month, currency, reading.lines(), reading.assignments, at or mark(), in_hand)


def _drafts(team: Team, month: date, corrected: Iterable[date], at: Mark) -> list[Draft]:
    own = currency_of(team)
    reading = read(team, month, own)
    lines = {own: reading.lines()}
    for earlier in sorted(corrected):
        stated = _said(team, earlier)
        for currency in stated or {own: {}}:
            now = read(team, earlier, currency).lines()
            lines.setdefault(currency, []).extend(corrections(earlier, now, stated.get(currency, {})))
    said = [(currency, each) for currency, each in lines.items() if each]
    return [_settled(team, month, currency, each, reading.assignments, at) for currency, each in said]


def _said(team: Team, month: date) -> dict[str, dict[Key, Said]]:
    """Return what statements said so far of `month`, by currency; there is one, unless somebody wrote rows by hand."""
    said: dict[str, dict[Key, Said]] = {}
    lines = StatementLine.objects.filter(
        statement__team=team, begin__gte=months.begin_of(month), begin__lt=months.end_of(month)
    ).exclude(kind=StatementLine.Kind.CREDIT)
    # Added up here: SQLite adds decimals as floating-point numbers.
    for currency, unit, assignment, slot, *figures in lines.values_list(
        "statement__currency", "unit", "assignment", "slot", "quantity", "exact", "cents"
    ).order_by("pk"):
        keys = said.setdefault(currency, {})
        key = Key(unit, assignment, slot)
        before = keys.get(key, NOTHING)
        keys[key] = Said(*(old + new for old, new in zip(before, figures, strict=True)))
    return said


def credits_in_hand(team: Team, currency: str, month: date) -> list[InHand]:
    """Return what is left of the team's credits that pay for `month`, oldest first."""
    valid = Credit.objects.filter(Q(expires_at=None) | Q(expires_at__gt=months.begin_of(month)))
    rows = valid.filter(team=team, currency=currency).annotate(
        used=Sum("lines__cents", filter=Q(lines__cents__lt=0), default=0)
    )
    left = (InHand(row.pk, row.cents + int(row.used), row.reason) for row in rows.order_by("granted_at", "pk"))
    return [credit for credit in left if credit.cents > 0]


def _settled(
    team: Team,
    month: date,
    currency: str,
    lines: Sequence[Line],
    assignments: Mapping[UUID, Assignment],
    at: Mark,
    in_hand: Sequence[InHand] | None = None,
) -> Draft:
    """Pay from credits what is charged; what a month gives back is kept as a credit, so that none is below zero."""
    charged = sum(line.cents for line in lines)
    if charged < 0:
        settled = [credit_line(month, -charged, None, GIVEN_BACK)]
    else:
        if in_hand is None:
            in_hand = credits_in_hand(team, currency, month) if charged else []
        settled = drawn(month, charged, in_hand, currency)
    every = [*lines, *settled]
    rows = [_row(number, line, assignments) for number, line in enumerate(every, 1)]
    total = sum(line.cents for line in every)
    return Draft(team=team, month=month, currency=currency, lines=rows, total_cents=total, mark=at)


def _row(position: int, line: Line, assignments: Mapping[UUID, Assignment]) -> StatementLine:
    assignment = assignments[line.assignment_id] if line.assignment_id else None
    return StatementLine(
        position=position,
        kind=line.kind,
        app=assignment.app if assignment else None,
        assignment=assignment,
        slot=line.slot,
        credit_id=line.credit_id,
        description=line.description,
        quantity=line.quantity,
        unit=line.unit,
        begin=line.begin,
        end=line.end,
        exact=to_decimal(line.amount),
        cents=line.cents,
        detail=dict(line.detail),
    )
