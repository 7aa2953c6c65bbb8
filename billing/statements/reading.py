"""Read what rating must know of a team's month: what was used, at which prices, on which terms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from billing.rating import months
from billing.rating.facts import Line, Period, SlotUse
from billing.rating.prices import PriceBook, periods_of, price_book, terms_between
from billing.rating.rate import rate
from egress.control.models import Assignment
from portal.accounts.models import Team

from .usage import Slot, Used, use_of


@dataclass(frozen=True, slots=True)
class Reading:
    """A team's month in one currency."""

    month: date
    assignments: Mapping[UUID, Assignment]
    book: PriceBook
    periods: Sequence[Period]
    used: dict[Slot, Used]

    def lines(self) -> list[Line]:
        """Return what it costs. Raises PriceMissing."""
        return rate(self.month, self.periods, [self._use(slot) for slot in sorted(self.used, key=self._order)])

    def _order(self, slot: Slot) -> tuple[object, ...]:
        """Return where a slot stands among the others: by what doesn't change, never by a name."""
        assignment = self.assignments[slot[0]]
        return (assignment.created_at, *slot)

    def _use(self, slot: Slot) -> SlotUse:
        assignment, used = self.assignments[slot[0]], self.used[slot]
        return SlotUse(
            app_id=assignment.app_id,
            app_name=assignment.app.name,
            assignment_id=assignment.pk,
            slot=slot[1],
            tariffs=self.book.tariffs(assignment.cluster_id, self.periods),
            seconds=used.seconds,
            traffic=used.traffic,
            outage_seconds=used.outage_seconds,
            begin=used.begin,
            end=used.end,
        )


def read(team: Team, month: date, currency: str) -> Reading:
    """Read the month of `team`: five queries, and few more for each hour in which a price or a term changes."""
    begin, end = months.begin_of(month), months.end_of(month)
    assignments = Assignment.objects.filter(app__team=team).select_related("app").order_by().in_bulk()
    book = price_book(currency, {each.cluster_id for each in assignments.values()}, begin, end)
    periods = periods_of(begin, end, book, terms_between(team, begin, end))
    return Reading(month, assignments, book, periods, use_of(team, periods))
