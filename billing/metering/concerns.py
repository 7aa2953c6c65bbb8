"""What an operator should look at first about metering."""

from datetime import timedelta

from django.db.models import Q

from egress.control import clock
from egress.control.attention import Concern

#: An hour is closed within minutes of its end.
BEHIND = timedelta(hours=3)


def meter_concerns() -> tuple[Concern, ...]:
    """Return when metering is behind, by the present time."""
    return (Concern(key="behind", label="Hours aren't closed", where=Q(closed_until__lt=clock.now() - BEHIND)),)
