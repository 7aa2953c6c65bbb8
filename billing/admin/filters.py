"""Filters that billing's lists share."""

# unfold brings no types: its classes are Any.
# mypy: disable-error-code="misc"

from datetime import date, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from billing.rating import months
from egress.control import clock

#: Months that are offered, the latest ones.
MONTHS_OFFERED = 36


class MonthFilter(DropdownFilter):
    """The rows of one month; `column` is a month's first day, or a moment."""

    title = "month"
    parameter_name = "in_month"
    column = "month"
    of_moments = False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the latest months, whether there are rows or not: to look would take long in a ledger."""
        del request, model_admin
        return [(f"{month:%Y-%m}", f"{month:%B %Y}") for month in latest_months(MONTHS_OFFERED)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Choose the rows."""
        del request
        month = month_named(self.value() or "")
        if month is None:
            return queryset
        if not self.of_moments:
            return queryset.filter(**{self.column: month})
        begin, end = months.begin_of(month), months.end_of(month)
        return queryset.filter(**{f"{self.column}__gte": begin, f"{self.column}__lt": end})


class HourFilter(MonthFilter):
    """The rows of a month's hours."""

    column = "hour"
    of_moments = True


def latest_months(count: int) -> list[date]:
    """Return this month and those before it, newest first."""
    found = [months.month_of(clock.now())]
    while len(found) < count:
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return found


def month_named(text: str) -> date | None:
    """Read a month such as 2026-11; None for anything else."""
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
