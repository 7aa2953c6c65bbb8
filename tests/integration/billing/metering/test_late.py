"""What comes late finds its closed hours and is put in by signed rows: events, corrections, nodes' words of outages."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from billing.metering import close, late
from billing.models import Meter, Recheck, UsageRecord
from egress.control import clock
from egress.control.models import Event, Node
from egress.control.models_told import Carry
from tests.integration.billing.metering.history import (
    Hours,
    at,
    begin_use,
    carry,
    end_use,
    ledger,
    make_assignment,
    pivot,
    rows,
    tell,
)


def sequences(hour: str) -> list[tuple[int, int, int]]:
    """Return the first slot's rows of an hour: (sequence, seconds, seconds of outage)."""
    found = UsageRecord.objects.filter(slot=0, hour=at(hour)).order_by("sequence")
    return list(found.values_list("sequence", "seconds", "outage_seconds"))


def test_a_late_disable_is_taken_off_by_signed_rows(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("10:00"))
    close_until(at("14:00"))
    tell(assignment, at("11:30"), "egress.disable")
    close_until(at("15:00"))
    assert ledger(assignment) == ledger(assignment, slot=1) == {"10": (3600, 0), "11": (1800, 0)}
    assert sequences("11:00") == [(0, 3600, 0), (1, -1800, 0)]
    assert sequences("12:00") == [(0, 3600, 0), (1, -3600, 0)]
    assert sequences("10:00") == [(0, 3600, 0)], "what isn't concerned isn't touched"
    reasons = set(UsageRecord.objects.filter(sequence=1).values_list("reason", flat=True))
    number = assignment.events.latest("pk").pk
    assert reasons == {f"events came late, the last of them #{number}"}


def test_a_late_beginning_is_put_in(close_until: Hours) -> None:
    other, assignment = make_assignment(), make_assignment()
    begin_use(other, at("09:00"))
    close_until(at("14:00"))
    begin_use(assignment, at("12:30"))
    close_until(at("14:00"))
    assert ledger(assignment) == {"12": (1800, 0), "13": (3600, 0)}


def test_what_comes_late_for_a_released_assignment_counts(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    end_use(assignment, at("10:00"))
    type(assignment).objects.update(status="released", released_at=at("10:01"))
    close_until(at("+30 00:00"))
    tell(assignment, at("09:40"), "egress.disable")
    close_until(at("+30 00:00"))
    assert ledger(assignment) == {"09": (2400, 0)}


def test_events_that_were_there_at_the_close_are_not_looked_at_again(
    close_until: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    close_until(at("12:00"))
    end_use(assignment, at("12:30"))
    # What is noted stays noted.
    monkeypatch.setattr(late, "_correct", lambda *_: None)
    for _ in range(2):
        Meter.objects.update(marked_at=clock.unmoved() - late.SETTLE)
        close.close_hours(at("12:00"))
        assert not Recheck.objects.exists(), "an event of an hour that wasn't closed when it was seen isn't late"
    close_until(at("14:00"))
    assert set(UsageRecord.objects.values_list("sequence", flat=True)) == {0}


def test_a_number_that_is_seen_out_of_order_is_not_passed_over(close_until: Hours) -> None:
    """On PostgreSQL a transaction that began first may commit last: its event has the lower number."""
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    close_until(at("09:00"))
    end_use(assignment, at("10:30"))
    last, number = assignment.events.latest("pk"), assignment.events.get(subject="egress.disable").pk
    hidden = assignment.events.filter(subject__in=("egress.disable", "assignment.status"), pk__gte=number)
    kept = list(hidden.exclude(pk=last.pk))
    hidden.exclude(pk=last.pk).delete()
    assert last.new == "released"
    Meter.objects.update(marked_at=clock.unmoved() - late.SETTLE)
    close.close_hours(at("14:00"))
    assert ledger(assignment) == {"09": (3600, 0), "10": (1860, 0)}, "by what it saw"
    assert Meter.objects.get().events_mark == last.pk
    # Before the mark has settled: within the time that a transaction may take.
    type(last).objects.bulk_create(kept)
    close_until(at("14:00"))
    assert ledger(assignment) == {"09": (3600, 0), "10": (1800, 0)}


def test_an_outage_told_days_later_lowers_seconds_and_is_noted_as_outage(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    nodes = [carry(assignment, at("09:00"), heard=at("+5 00:00")) for _ in range(2)]
    close_until(at("+1 00:00"))
    for node in nodes:
        pivot(assignment, node, at("10:50"), out=True)
        pivot(assignment, node, at("11:10"), out=False)
    close_until(at("+3 00:00"))
    used = ledger(assignment)
    assert (used["10"], used["11"], used["12"]) == ((3000, 600), (3000, 600), (3600, 0))
    assert sequences("11:00") == [(0, 3600, 0), (1, -600, 600)]
    assert sum(1 for row in rows() if row[3]) == 4, "two hours of two slots"


def test_an_outage_is_counted_at_the_close_when_it_is_known_by_then(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    node = carry(assignment, at("09:00"), heard=at("+1 00:00"))
    pivot(assignment, node, at("09:59:30"), out=True)
    close_until(at("11:00"))
    pivot(assignment, node, at("11:00:30"), out=False)
    close_until(at("13:00"))
    assert ledger(assignment) == {"09": (3570, 30), "10": (0, 3600), "11": (3570, 30), "12": (3600, 0)}
    assert set(UsageRecord.objects.values_list("sequence", flat=True)) == {0}


def test_the_end_of_an_outage_told_late_gives_the_seconds_back(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    node = carry(assignment, at("09:00"), heard=at("+1 00:00"))
    pivot(assignment, node, at("09:30"), out=True)
    close_until(at("12:00"))
    assert ledger(assignment) == {"09": (1800, 1800), "10": (0, 3600), "11": (0, 3600)}
    pivot(assignment, node, at("09:40"), out=False)
    close_until(at("12:00"))
    assert ledger(assignment) == {"09": (3000, 600), "10": (3600, 0), "11": (3600, 0)}


def test_an_hour_is_in_doubt_until_all_nodes_that_carry_the_app_were_heard(close_until: Hours) -> None:
    """One node was out, another was silent: it may have served all the while, and says so when it is back."""
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    out = carry(assignment, at("09:00"), heard=at("+1 00:00"))
    silent = carry(assignment, at("09:00"), heard=at("10:00"))
    pivot(assignment, out, at("09:30"), out=True)
    close_until(at("12:00"))
    assert ledger(assignment) == {"09": (3600, 0), "10": (0, 3600), "11": (0, 3600)}
    doubt = Recheck.objects.get()
    assert (doubt.since, doubt.reason) == (at("10:00"), late.DOUBT)
    assert doubt.due_at > clock.unmoved()
    Node.objects.filter(pk=silent.pk).update(reported_at=at("11:30"))
    Recheck.objects.update(due_at=clock.unmoved())
    close_until(at("12:00"))
    assert ledger(assignment) == {"09": (3600, 0), "10": (3600, 0), "11": (1800, 1800)}
    assert Recheck.objects.get().since == at("11:00"), "the rest is in doubt still"
    Node.objects.filter(pk=silent.pk).update(reported_at=at("+1 00:00"))
    Recheck.objects.update(due_at=clock.unmoved())
    close_until(at("12:00"))
    assert ledger(assignment) == {"09": (3600, 0), "10": (3600, 0), "11": (3600, 0)}
    assert not Recheck.objects.exists()


def test_the_doubt_about_a_silent_node_outlasts_the_assignment(close_until: Hours) -> None:
    """Released while it was silent: its carry is ended without its word, which may still be that it served."""
    assignment = make_assignment()
    begin_use(assignment, at("09:00"))
    out = carry(assignment, at("09:00"), heard=at("13:00"), until=at("13:00"))
    pivot(assignment, out, at("10:00"), out=True)
    silent = carry(assignment, at("09:00"), heard=at("10:00"))
    close_until(at("12:00"))
    end_use(assignment, at("12:00"))
    Carry.objects.filter(node=silent).update(until=at("12:01"))
    for heard, said in (("10:00", (0, 3600)), ("13:00", (3600, 0))):
        Node.objects.filter(pk=silent.pk).update(reported_at=at(heard))
        Recheck.objects.update(due_at=clock.unmoved())
        close_until(at("14:00"))
        assert ledger(assignment)["10"] == ledger(assignment)["11"] == said


def test_a_doubt_is_looked_at_ever_more_rarely(db: None) -> None:
    ages = (timedelta(minutes=5), timedelta(hours=8), timedelta(days=30))
    pauses = [late._due(clock.now() - age, late.DOUBT) - clock.unmoved() for age in ages]
    for pause, expected in zip(pauses, (timedelta(hours=1), timedelta(hours=2), timedelta(days=1)), strict=True):
        assert abs(pause - expected) < timedelta(minutes=1)


def test_late_facts_of_many_assignments_are_put_in_step_by_step(
    close_until: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "HOURS_AT_ONCE", 3)
    assignments = [make_assignment() for _ in range(5)]
    for assignment in assignments:
        begin_use(assignment, at("10:00"))
    close_until(at("12:00"))
    for assignment in assignments:
        tell(assignment, at("10:30"), "egress.disable")
    close_until(at("12:00"))
    assert {tuple(ledger(assignment).items()) for assignment in assignments} == {(("10", (1800, 0)),)}


def test_what_is_too_old_to_be_told_anew_is_left_to_an_operator(close_until: Hours, settings: Settings) -> None:
    """What nodes told of that time is forgotten: without it, seconds of outage would be billed."""
    assignment = make_assignment()
    begin_use(assignment, at("10:00"))
    close_until(at("+3 00:00"))
    before = ledger(assignment)
    settings.EGRESS_TOLD_KEPT_DAYS = (clock.now() - at("+1 00:00")).days + 1
    tell(assignment, at("10:30"), "egress.disable")
    close_until(at("+3 00:00"))
    after = ledger(assignment)
    kept = {hour for hour in before if after.get(hour) == before[hour]}
    assert {hour for hour in before if "+" not in hour} <= kept
    assert "+2 05" in before.keys() - kept
    (told,) = Event.objects.filter(subject="billing.too_late")
    assert str(assignment.pk) in told.reason
    assert "2026-03-01 10:00" in told.reason


def test_a_run_without_time_takes_one_step_of_each_kind_and_leaves_the_rest(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "HOURS_AT_ONCE", 1)
    monkeypatch.setattr(close, "ROWS_IN_ONE_GO", 1)
    assignments = [make_assignment(), make_assignment()]
    for assignment in assignments:
        begin_use(assignment, at("10:05"))
    close.close_hours(at("12:00"))
    for assignment in assignments:
        tell(assignment, at("10:35"), "egress.disable")
    left = []
    for _ in range(4):
        Meter.objects.update(marked_at=clock.unmoved() - late.SETTLE)
        close.close_hours(at("14:00"), seconds=0)
        left.append((Recheck.objects.count(), Meter.objects.get().closed_until))
    assert left == [(0, at("13:00")), (1, at("14:00")), (0, at("14:00")), (0, at("14:00"))]
    for assignment in assignments:
        assert ledger(assignment) == {"10": (1800, 0)}
