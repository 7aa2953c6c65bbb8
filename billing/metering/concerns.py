"""What an operator should look at first about metering."""

from datetime import timedelta

from django.db.models import Min, Q

from billing.models import Meter
from egress.control import clock
from egress.control.attention import Concern
from egress.control.models import METERED, Event

from .evidence import HOUR, hour_of

#: An hour is closed within minutes of its end.
BEHIND = timedelta(hours=3)


def behind_seconds() -> float:
    """Return how long ago the oldest hour ended that isn't closed; 0 before there is anything to meter."""
    closed_until = Meter.objects.aggregate(at=Min("closed_until"))["at"]
    if closed_until is None:
        # Metering makes its row when it first runs: until then the first event is what waits.
        closed_until = Event.objects.filter(subject__in=METERED).aggregate(at=Min("at"))["at"]
    if closed_until is None:
        return 0.0
    return max(0.0, (clock.now() - hour_of(closed_until) - HOUR).total_seconds())


def meter_concerns() -> tuple[Concern, ...]:
    """Return when metering is behind, by the present time."""
    return (Concern(key="behind", label="Hours aren't closed", where=Q(closed_until__lt=clock.now() - BEHIND)),)
