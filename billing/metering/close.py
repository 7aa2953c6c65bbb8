"""Close hours: write down what was used in each once it is over. Closing again, or by two at once, changes nothing."""

import logging
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from django.db.models import Min, Q

from billing.models import Meter
from egress.control import clock, installation
from egress.control.models import METERED, Assignment, Event
from egress.control.models_told import Pivot

from . import late
from .books import METER, Overtaken, lacking, put, writing
from .evidence import HOUR, hour_of

log = logging.getLogger(__name__)

#: An hour is closed so long after its end: by then reports of its last seconds are written.
SETTLE: Final = timedelta(minutes=5)
#: What is released is looked at for so long after: clocks may be put back.
RELEASED_LATELY: Final = timedelta(days=1)
#: Many hours are closed in one go while there are few assignments: two rows for each of both.
ROWS_IN_ONE_GO: Final = 20_000


def close_hours(until: datetime | None = None, *, seconds: float = float("inf")) -> int:
    """Correct what late facts concern, and close the hours that ended before `until`; returns how many.

    None: up to now. It ends with the step during which `seconds` pass, and is called again for what is left. Nothing is
    closed while the installation stands still.
    """
    if installation.why_still():
        return 0
    began = monotonic()
    now = clock.now()
    limit = hour_of(min(until or now, now - SETTLE))
    closed = 0
    try:
        meter = _meter()
        late.note(meter)
        late.correct(meter, ends_at=began + seconds / 2)
        while meter.closed_until < limit:
            closed += _close(meter, limit)
            if monotonic() > began + seconds:
                break
    except Overtaken:
        log.info("another worker closes hours: left to it")
    return closed


def _meter() -> Meter:
    """Return how far metering got. It begins with the first event."""
    meter = Meter.objects.filter(pk=METER).first()
    if meter is None:
        first = Event.objects.filter(subject__in=METERED).aggregate(first=Min("at"))["first"] or clock.now()
        begins = {
            "closed_until": max(hour_of(first), late.earliest()),
            "events_seen": late.highest(Event),
            "events_mark": late.highest(Event),
            "pivots_seen": late.highest(Pivot),
            "pivots_mark": late.highest(Pivot),
        }
        meter, _ = Meter.objects.get_or_create(pk=METER, defaults=begins)
    return meter


def _close(meter: Meter, limit: datetime) -> int:
    """Close as many hours, one at least, as a step bears; returns how many. Raises Overtaken."""
    begin = meter.closed_until
    assignments = _in_question(begin)
    bearable = ROWS_IN_ONE_GO // (2 * len(assignments) or 1)
    end = min(limit, begin + HOUR * max(1, bearable))
    hours = (end - begin) // HOUR
    at_once = max(1, late.HOURS_AT_ONCE // hours)
    for first in range(0, len(assignments), at_once):
        some = assignments[first : first + at_once]
        # What gateways told in the minutes after the last close counts for the hour in which they told it.
        lack = lacking(some, begin, end, traffic_since=begin - HOUR)
        with writing(meter):
            put(lack, {})
            late.doubt(lack.unheard_since)
    with writing(meter, closed_until=end):
        pass
    return hours


def _in_question(begin: datetime) -> list[UUID]:
    """Return the assignments that may have been in use from `begin` on; late facts find the others by themselves."""
    unreleased = Q(released_at=None) | Q(released_at__gte=begin - RELEASED_LATELY)
    return list(Assignment.objects.filter(unreleased).order_by("pk").values_list("pk", flat=True))
