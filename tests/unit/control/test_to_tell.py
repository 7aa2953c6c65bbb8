"""What a team is told, and when: storms are folded, flapping is told, and nothing is told twice."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from egress.control.models_told import Notification
from egress.control.told.standing import Past, to_tell

Kind = Notification.Kind
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


def told(state: str, after: int, *, told: str = "whole", began: int = 1, told_lately: int = 0) -> str | None:
    past = Past(state=state, since=SINCE, told=told, began=began, told_lately=told_lately)
    return to_tell(past, SINCE + timedelta(seconds=after))


@pytest.fixture(autouse=True)
def _ten_minutes(settings: Settings) -> None:
    settings.EGRESS_TELL_DEGRADED_SECONDS = 600


def test_an_outage_is_told_once_it_has_settled() -> None:
    assert told("outage", 29) is None
    assert told("outage", 30) == Kind.OUTAGE
    assert told("outage", 9999, told="outage") is None


def test_one_that_comes_and_goes_is_told_at_its_third_coming() -> None:
    assert told("outage", 1, began=2) is None
    assert told("outage", 1, began=3) == Kind.OUTAGE


def test_an_outage_is_told_though_degradation_was() -> None:
    assert told("outage", 30, told="degraded") == Kind.OUTAGE


def test_degradation_is_told_when_it_lasts() -> None:
    assert told("degraded", 599) is None
    assert told("degraded", 600) == Kind.DEGRADED
    assert told("degraded", 9999, told="degraded") is None


def test_the_end_is_told_after_calm_and_only_of_what_was_told() -> None:
    for state in ("whole", "maintenance"):
        assert told(state, 299, told="outage") is None
        assert told(state, 300, told="outage") == Kind.OUTAGE_OVER
        assert told(state, 300, told="degraded") == Kind.WHOLE
        assert told(state, 9999) is None
    assert told("degraded", 300, told="outage") == Kind.OUTAGE_OVER


@pytest.mark.parametrize(("outages", "calm"), [(1, 300), (2, 600), (3, 1200), (4, 2400), (5, 4800), (50, 4800)])
def test_the_more_often_it_was_told_the_longer_the_calm_must_be(outages: int, calm: int) -> None:
    assert told("whole", calm - 1, told="outage", told_lately=outages) is None
    assert told("whole", calm, told="outage", told_lately=outages) == Kind.OUTAGE_OVER


@pytest.mark.parametrize(("down", "up"), [(1, 1), (20, 20), (40, 40), (60, 400), (5, 2000)])
def test_a_day_of_flapping_is_a_few_mails(down: int, up: int) -> None:
    """Played second by second, as looks every five seconds would see it."""
    state, since, said = "whole", SINCE, "whole"
    begun: list[datetime] = []
    outages: list[datetime] = []
    mails: list[str] = []
    for second in range(0, 86_400, 5):
        now = SINCE + timedelta(seconds=second)
        present = "outage" if second % (down + up) < down else "whole"
        if present != state:
            state, since = present, now
            begun += [now] if state == "outage" else []
        began = sum(now - at < timedelta(hours=1) for at in begun[-5:])
        past = Past(state=state, since=since, told=said, began=began, told_lately=len(outages))
        if kind := to_tell(past, now):
            mails.append(kind)
            said = state
            outages += [now] if kind == Kind.OUTAGE else []
    assert len(mails) <= 40
    assert all(first != second for first, second in itertools.pairwise(mails)), "bad and good in turn"
