"""The check command finds each planted difference, names it, and lets it be corrected."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.models import TrafficRecord, UsageRecord
from egress.control.models import Assignment
from egress.control.models_traffic import HourOfTraffic
from tests.integration.billing.metering.history import (
    Hours,
    at,
    begin_use,
    carry,
    end_use,
    ledger,
    make_assignment,
    pivot,
    tell,
)


@pytest.fixture
def closed(close_until: Hours) -> Assignment:
    assignment = make_assignment()
    begin_use(assignment, at("09:30"))
    end_use(assignment, at("12:15"))
    HourOfTraffic.objects.create(gateway=assignment.gateways.get(slot=0), hour=at("10:00"), sent_bytes=7)
    close_until(at("14:00"))
    return assignment


def check(*words: str, begin: str = "2026-03-01", end: str = "2026-03-01T14:00") -> str:
    out = StringIO()
    try:
        call_command("billing_check", f"--from={begin}", f"--to={end}", *words, stdout=out)
    except CommandError as error:
        # With which manage.py ends by 1.
        out.write(str(error))
    return out.getvalue()


def test_a_ledger_that_is_right_is_proved(closed: Assignment) -> None:
    assert check() == "The ledger's 9 rows say what events, pivots and counters say.\n"


def test_too_much_in_the_ledger_is_named(closed: Assignment) -> None:
    UsageRecord.objects.create(assignment=closed, slot=1, hour=at("13:00"), seconds=60)
    assert check() == (
        f"usage of assignment {closed.pk}, slot 1, 2026-03-01T13:00Z: 0 s and 0 s of outage by the facts,"
        " 60 s and 0 s of outage in the ledger\n"
        "1 slot hours differ; --correct lets the next close correct them."
    )


def test_a_row_that_was_never_written_is_named(close_until: Hours) -> None:
    """What the close passed over: events of which it never learnt."""
    first, second = make_assignment(), make_assignment()
    begin_use(first, at("09:30"))
    close_until(at("11:00"))
    begin_use(second, at("10:59:50"))
    assert f"usage of assignment {second.pk}, slot 0, 2026-03-01T10:00Z: 10 s and" in check(end="2026-03-01T11:00")
    close_until(at("11:00"))
    assert "The ledger's" in check(end="2026-03-01T11:00"), "it came late, and was corrected"


def test_another_outage_is_named(closed: Assignment) -> None:
    node = carry(closed, at("09:00"), heard=at("+1 00:00"))
    pivot(closed, node, at("10:10"), out=True)
    pivot(closed, node, at("10:20"), out=False)
    assert "2026-03-01T10:00Z: 3000 s and 600 s of outage by the facts, 3600 s and 0 s of outage in" in check()


def test_traffic_is_compared_too(closed: Assignment) -> None:
    TrafficRecord.objects.create(assignment=closed, slot=0, hour=at("10:00"), sequence=1, sent_bytes=-3)
    assert "traffic of assignment" in check()
    assert "7 bytes by the facts, 4 bytes in the ledger" in check()


def test_a_row_of_no_whole_hour_is_named(closed: Assignment) -> None:
    UsageRecord.objects.create(assignment=closed, slot=0, hour=at("10:30"), seconds=5)
    assert "2026-03-01T10:30Z: 0 s" in check()


def test_what_differs_is_corrected_by_the_next_close(closed: Assignment, close_until: Hours) -> None:
    UsageRecord.objects.create(assignment=closed, slot=1, hour=at("13:00"), seconds=60)
    TrafficRecord.objects.create(assignment=closed, slot=0, hour=at("10:00"), sequence=1, sent_bytes=-3)
    assert "2 slot hours differ; the next close corrects them." in check("--correct")
    close_until(at("14:00"))
    assert "The ledger's" in check()
    assert UsageRecord.objects.get(sequence=1).seconds == -60
    assert UsageRecord.objects.get(sequence=1).reason == "found by billing_check"
    assert ledger(closed, slot=1) == {"09": (1800, 0), "10": (3600, 0), "11": (3600, 0), "12": (900, 0)}


def test_hours_that_are_not_closed_yet_are_left_out(closed: Assignment) -> None:
    tell(closed, at("13:30"), "assignment.status", "provisioning", "distributing")
    said = check(end="2026-03-02")
    assert said.startswith("Hours from 2026-03-01T14:00Z on aren't closed yet: left out.\n")


@pytest.mark.parametrize(
    ("begin", "end", "why"),
    [
        ("2026-03-02", "2026-03-01", "Give whole hours, the end after the beginning"),
        ("2026-03-01T10:30", "2026-03-02", "Give whole hours"),
        ("2001-01-01", "2026-03-02", "What nodes told of outages is kept since"),
        ("yesterday", "2026-03-02", "'yesterday' is no time such as 2026-03-01"),
    ],
)
def test_a_range_that_cannot_be_checked_is_refused(closed: Assignment, begin: str, end: str, why: str) -> None:
    assert why in check(begin=begin, end=end)


def test_before_the_first_close_there_is_nothing_to_check(db: None) -> None:
    assert "No hour was closed yet" in check()


def test_the_memory_is_bounded_by_pieces(closed: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_assignment()
    UsageRecord.objects.create(assignment=other, slot=0, hour=at("13:00"), seconds=60)
    monkeypatch.setattr("billing.metering.check.SLOT_HOURS_AT_ONCE", 1)
    whole = check()
    assert str(other.pk) in whole
    assert "1 slot hours differ" in whole
