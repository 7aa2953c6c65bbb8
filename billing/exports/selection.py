"""What is exported: a month, of one team or all, of one cluster or all; in which format and grain."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum

from egress.control import clock
from egress.control.models import Cluster
from portal.accounts.models import Team

from .errors import ClusterUnknown, FormatUnknown, GrainUnknown, MonthInFuture, MonthUnknown


class Format(Enum):
    """What rows are written as; FOCUS is a CSV, too."""

    CSV = "csv"
    JSONL = "jsonl"
    FOCUS = "focus"


class Grain(Enum):
    """How long a time a row of usage is about."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A month, named by its first day; None is all teams, and all clusters.

    By cluster, what belongs to none is left out: discounts and credits of a whole team.
    """

    month: date
    team: Team | None = None
    cluster: Cluster | None = None

    @property
    def begin(self) -> datetime:
        """Return the month's first moment."""
        return first_moment(self.month)

    @property
    def end(self) -> datetime:
        """Return the next month's first moment."""
        return first_moment(next_month(self.month))


def month_of(text: str) -> date:
    """Return the first day of the month `text`, YYYY-MM. Raises MonthUnknown, and MonthInFuture by the one clock."""
    match = re.fullmatch(r"(20[0-9]{2})-(0[1-9]|1[0-2])", text, re.ASCII)
    if match is None:
        raise MonthUnknown
    month = date(int(match[1]), int(match[2]), 1)
    if first_moment(month) > clock.now():
        raise MonthInFuture
    return month


def format_of(text: str) -> Format:
    """Return the format. Raises FormatUnknown."""
    try:
        return Format(text)
    except ValueError:
        raise FormatUnknown from None


def grain_of(text: str) -> Grain:
    """Return the grain. Raises GrainUnknown."""
    try:
        return Grain(text)
    except ValueError:
        raise GrainUnknown from None


def cluster_of(name: str) -> Cluster | None:
    """Return the cluster; None for "". Raises ClusterUnknown."""
    if not name:
        return None
    # PostgreSQL refuses the character NUL.
    cluster = None if "\0" in name else Cluster.objects.filter(name=name).first()
    if cluster is None:
        raise ClusterUnknown
    return cluster


def next_month(month: date) -> date:
    """Return the first day of the month after."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def first_moment(day: date) -> datetime:
    """Return the day's first moment in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
