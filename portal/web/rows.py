"""The list of apps, by team."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from egress.control.overview import EgressOverview
from portal.accounts.models import Role, Team, User

from .states import State, state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One app in the list, with the addresses that are its own for sure."""

    overview: EgressOverview
    state: State
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRows:
    """A team's part of the list, and what the user is there."""

    team: Team
    role: str
    rows: tuple[Row, ...]


def teams_of(overviews: Sequence[EgressOverview], *, user: User) -> list[TeamRows]:
    """Group apps, which come sorted by team."""
    roles = dict(user.memberships.values_list("team_id", "role"))
    return [
        TeamRows(team=team, role=Role(roles[team.pk]).label, rows=tuple(_row(overview) for overview in group))
        for team, group in groupby(overviews, key=lambda overview: overview.app.team)
    ]


def _row(overview: EgressOverview) -> Row:
    addresses = tuple(ip.ip for ip in overview.ips if ip.ip and ip.status == "ASSIGNED")
    return Row(overview=overview, state=state_of(overview), addresses=addresses)
