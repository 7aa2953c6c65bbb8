"""Find the bills of a selection: a team's statements of the month, or an estimate as long as it has none."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from billing.models import Statement, UsageRecord
from billing.statements.month import month_to_date
from egress.control import clock
from portal.accounts.models import Team

from .bills import Bill, bill_of
from .selection import Selection

#: Teams that are looked up at once.
TEAMS = 100


def bills_in(selection: Selection) -> Iterator[Bill]:
    """Yield the selection's bills, team by team in an order that no renaming changes.

    Each team is decided on once, so that a statement that is made meanwhile is neither left out nor written beside
    its estimate.
    """
    at = min(clock.now(), selection.end - timedelta(microseconds=1))
    for teams in _teams(selection):
        statements = _statements(selection, teams)
        for team in teams:
            if team.pk in statements:
                yield from map(bill_of, statements[team.pk])
            else:
                yield _estimate(team, selection, at)


def unbilled(selection: Selection) -> QuerySet[Team]:
    """Return the selected teams that used something in the month and have no statement of it."""
    return _selected(selection).filter(_used(selection)).exclude(_billed(selection))


def _teams(selection: Selection) -> Iterator[list[Team]]:
    teams = _selected(selection).filter(_used(selection) | _billed(selection))
    batch = list(teams[:TEAMS])
    while batch:
        yield batch
        batch = list(teams.filter(pk__gt=batch[-1].pk)[:TEAMS])


def _statements(selection: Selection, teams: list[Team]) -> dict[UUID, list[Statement]]:
    found: dict[UUID, list[Statement]] = defaultdict(list)
    statements = Statement.objects.filter(month=selection.month, team__in=teams).select_related("team")
    for statement in statements.order_by("currency"):
        found[statement.team_id].append(statement)
    return found


def _selected(selection: Selection) -> QuerySet[Team]:
    teams = Team.objects.order_by("pk")
    return teams.filter(pk=selection.team.pk) if selection.team else teams


def _used(selection: Selection) -> Exists:
    return Exists(
        UsageRecord.objects.filter(
            assignment__app__team=OuterRef("pk"), hour__gte=selection.begin, hour__lt=selection.end
        )
    )


def _billed(selection: Selection) -> Exists:
    return Exists(Statement.objects.filter(team=OuterRef("pk"), month=selection.month))


def _estimate(team: Team, selection: Selection, at: datetime) -> Bill:
    """Return what the team would owe for the month by what is known at `at`."""
    draft = month_to_date(team, at)
    return Bill(team=team, currency=draft.currency, begin=selection.begin, end=selection.end, lines=tuple(draft.lines))
