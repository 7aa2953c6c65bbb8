"""Write every finished month to the export folder, once: what the scheduled task does."""

import logging
from datetime import date
from pathlib import Path

from django.conf import settings

from billing.models import Statement
from billing.models.exports import MonthExport
from egress.control import clock
from egress.control.errors import EgressError

from .errors import NotFinished
from .folder import files_wanted, is_written, locked, month_write
from .gather import unbilled
from .selection import Format, Grain, Selection

logger = logging.getLogger(__name__)

#: So many months back are looked after.
MONTHS = 24
#: Teams that a problem names.
_NAMED = 5


def export_months() -> int:
    """Write the finished months that aren't in the folder yet, the oldest first; returns how many were written.

    May run at any time, twice and at once: one process writes, others do nothing. A month that can't be written doesn't
    hold up the others; its MonthExport says what is wrong.
    """
    if not settings.BILLING_EXPORT_DIR:
        return 0
    folder, wanted = Path(settings.BILLING_EXPORT_DIR), files_wanted()
    with locked(folder) as mine:
        if not mine:
            return 0
        return sum(_write(month, folder / f"{month:%Y-%m}", wanted) for month in _months())


def _months() -> list[date]:
    months = Statement.objects.order_by("-month").values_list("month", flat=True).distinct()
    return sorted(months[:MONTHS])


def _write(month: date, folder: Path, wanted: list[tuple[Format, Grain]]) -> bool:
    """Write one month, if it isn't there, and note how that ended."""
    try:
        if is_written(folder, wanted):
            return False
        _check_finished(month)
        manifest = month_write(Selection(month=month), folder, wanted)
    except (EgressError, OSError) as error:
        logger.error("the export of %s wasn't written: %s", f"{month:%Y-%m}", error)  # noqa: TRY400  # it says it all
        _note(month, problem=str(error), manifest={})
        return False
    _note(month, problem="", manifest=manifest)
    return True


def _check_finished(month: date) -> None:
    """Raise NotFinished while teams that used something have no statement."""
    missing = list(unbilled(Selection(month=month)).values_list("slug", flat=True)[: _NAMED + 1])
    if missing:
        names = ", ".join(missing[:_NAMED]) + (" and others" if len(missing) > _NAMED else "")
        raise NotFinished(f"These teams used something in the month but have no statement yet: {names}.")


def _note(month: date, **said: object) -> None:
    MonthExport.objects.update_or_create(month=month, defaults={"at": clock.now(), **said})
