"""The control plane's one clock."""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone


def now() -> datetime:
    """Return the present time: this machine's (kept by NTP), moved by `CLOCK_OFFSET_SECONDS`, which only a lab sets."""
    return timezone.now() + timedelta(seconds=settings.CLOCK_OFFSET_SECONDS)
