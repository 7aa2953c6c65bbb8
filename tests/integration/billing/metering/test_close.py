"""Hours are closed once, each after its end, and two workers, a crash or a long absence leave the same ledger."""

from billing.models import Meter, UsageRecord
from tests.integration.billing.metering.history import Hours, at, begin_use, end_use, ledger, make_assignment, rows


def test_the_seconds_between_ready_and_disable_are_in_the_ledger_for_both_slots(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("10:20:00.7"))
    end_use(assignment, at("12:00:05.9"))
    assert close_until(at("14:00")) == 4, "from the hour of the first event on"
    expected = {"10": (2400, 0), "11": (3600, 0), "12": (5, 0)}
    assert ledger(assignment, slot=0) == ledger(assignment, slot=1) == expected
    assert set(UsageRecord.objects.values_list("sequence", flat=True)) == {0}


def test_closing_again_writes_nothing(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("10:20"))
    close_until(at("14:00"))
    before = rows()
    assert close_until(at("14:00")) == 0
    assert close_until(at("12:00")) == 0
    assert rows() == before
    assert Meter.objects.get().closed_until == at("14:00")
