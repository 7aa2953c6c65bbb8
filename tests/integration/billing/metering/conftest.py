from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from billing.metering import close, late
from billing.models import Meter
from egress.control import clock
from tests.integration.billing.metering.history import MIDNIGHT, Hours


@pytest.fixture(autouse=True)
def _in_spring(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let histories lie in the past, and be kept and doubted as long as they need."""
    monkeypatch.setattr(late, "DOUBT_ENDS", timedelta(days=4_000))
    settings.EGRESS_TOLD_KEPT_DAYS = (datetime.now(UTC) - MIDNIGHT).days + 800


@pytest.fixture
def close_until(db: None) -> Hours:
    """Close the hours before a time, when all that was written before this call has settled."""

    def close_until(until: datetime) -> int:
        settled = clock.unmoved() - late.SETTLE
        Meter.objects.update(marked_at=settled)
        closed = close.close_hours(until)
        # The first call set the marks.
        Meter.objects.update(marked_at=settled)
        return closed + close.close_hours(until)

    return close_until
