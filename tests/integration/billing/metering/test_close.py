"""Hours are closed once, each after its end, and two workers, a crash or a long absence leave the same ledger."""

from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from pytest_django import Settings

from billing import tasks
from billing.metering import books, close
from billing.models import Meter, UsageRecord
from egress.control import clock, installation
from portal.config import celery_app
from tests.factories import make_cluster
from tests.integration.billing.metering.history import (
    Hours,
    at,
    begin_use,
    end_use,
    ledger,
    make_assignment,
    rows,
    tell,
)


def test_the_seconds_between_ready_and_disable_are_in_the_ledger_for_both_slots(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("10:20:00.7"))
    end_use(assignment, at("12:00:05.9"))
    assert close_until(at("14:00")) == 4, "from the hour of the first event on"
    expected = {"10": (2400, 0), "11": (3600, 0), "12": (5, 0)}
    assert ledger(assignment, slot=0) == ledger(assignment, slot=1) == expected
    assert set(UsageRecord.objects.values_list("sequence", flat=True)) == {0}
    assert UsageRecord.objects.count() == 6, "an hour without use has no row"


def test_closing_again_or_an_earlier_time_writes_nothing(close_until: Hours) -> None:
    begin_use(make_assignment(), at("10:20"))
    close_until(at("14:00"))
    before = rows()
    assert close_until(at("14:00")) == 0
    assert close_until(at("12:00")) == 0
    assert rows() == before
    assert Meter.objects.get().closed_until == at("14:00")


def test_without_events_it_begins_now_and_writes_nothing(db: None) -> None:
    assert close.close_hours() == 0
    assert Meter.objects.get().closed_until == clock.now().replace(minute=0, second=0, microsecond=0)


def test_an_hour_is_closed_only_when_it_is_over_and_has_settled(db: None, settings: Settings) -> None:
    assignment = make_assignment()
    # Now is a minute after an hour.
    now = clock.now()
    hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    settings.CLOCK_OFFSET_SECONDS += int((hour - now).total_seconds()) + 60
    begin_use(assignment, hour - timedelta(minutes=110))
    assert close.close_hours() == 1
    assert close.close_hours(hour + timedelta(days=30)) == 0, "the future isn't over, whoever asks"
    settings.CLOCK_OFFSET_SECONDS += 245
    assert close.close_hours() == 1
    assert Meter.objects.get().closed_until == hour
    assert sum(UsageRecord.objects.values_list("seconds", flat=True)) == 2 * 6600


def test_a_clock_that_was_put_back_closes_nothing_and_writes_nothing(db: None, settings: Settings) -> None:
    begin_use(make_assignment(), clock.now() - timedelta(hours=10))
    close.close_hours()
    before, closed = rows(), Meter.objects.get().closed_until
    settings.CLOCK_OFFSET_SECONDS -= 7200
    assert close.close_hours() == 0
    settings.CLOCK_OFFSET_SECONDS += 7200
    assert close.close_hours() == 0
    assert (rows(), Meter.objects.get().closed_until) == (before, closed)


def test_nothing_is_closed_while_the_installation_stands_still(db: None) -> None:
    begin_use(make_assignment(), at("10:20"))
    installation.hold(reason="a backup was restored")
    assert close.close_hours(at("14:00")) == 0
    assert rows() == []
    installation.resume()
    assert close.close_hours(at("14:00")) == 4


def test_workers_know_the_task_and_the_scheduler_calls_it() -> None:
    celery_app.autodiscover_tasks(force=True)
    entries = celery_app.conf.beat_schedule.values()
    assert [entry["schedule"] for entry in entries if entry["task"] == "billing.tasks.close_hours"] == [60.0]
    assert "billing.tasks.close_hours" in celery_app.tasks
    assert celery_app.conf.task_soft_time_limit / 2 + 1 > tasks.CLOSE_SECONDS


def test_the_task_run_twice_closes_what_is_over_once(db: None) -> None:
    begin_use(make_assignment(), clock.now() - timedelta(hours=30))
    tasks.close_hours()
    before = rows()
    tasks.close_hours()
    assert rows() == before
    assert sum(UsageRecord.objects.filter(slot=1).values_list("seconds", flat=True)) > 28 * 3600


def test_undo_resumes_and_its_time_is_free(close_until: Hours) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("10:00"))
    tell(assignment, at("10:30"), "egress.disable")
    tell(assignment, at("10:45"), "egress.enable")
    close_until(at("12:00"))
    assert ledger(assignment) == {"10": (2700, 0), "11": (3600, 0)}


def test_an_adopted_pair_is_billed_from_its_adoption_on(close_until: Hours) -> None:
    """A restored database forgot it: what it was before is told by no event."""
    assignment = make_assignment()
    tell(assignment, at("10:15"), "assignment.status", "", "provisioning")
    tell(assignment, at("10:15"), "assignment.status", "provisioning", "distributing")
    tell(assignment, at("10:15"), "egress.enable")
    close_until(at("12:00"))
    assert ledger(assignment) == {"10": (2700, 0), "11": (3600, 0)}


def test_provisioning_and_failure_are_free(close_until: Hours) -> None:
    assignment = make_assignment()
    tell(assignment, at("09:00"), "egress.enable")
    moves = ("provisioning", "error", "provisioning", "distributing", "active")
    for number, (old, new) in enumerate(zip(("", *moves), moves, strict=False)):
        tell(assignment, at("09:00") + timedelta(hours=number), "assignment.status", old, new)
    close_until(at("15:00"))
    assert ledger(assignment) == {"12": (3600, 0), "13": (3600, 0), "14": (3600, 0)}


@pytest.mark.parametrize(
    ("first", "after", "days"),
    [
        ("2026-02-01", "2026-03-01", 28),
        ("2024-02-01", "2024-03-01", 29),
        ("2026-04-01", "2026-05-01", 30),
        ("2026-03-01", "2026-04-01", 31),
    ],
)
def test_a_months_seconds_are_those_of_its_days(
    close_until: Hours, settings: Settings, first: str, after: str, days: int
) -> None:
    """Also over the nights in which other countries put their clocks forward or back."""
    settings.EGRESS_TOLD_KEPT_DAYS = 4_000
    begin, end = (datetime.fromisoformat(f"{day}T00:00+00:00") for day in (first, after))
    begin_use(make_assignment(), begin - timedelta(hours=5))
    close_until(end + timedelta(hours=5))
    month = UsageRecord.objects.filter(slot=0, hour__gte=begin, hour__lt=end)
    assert month.count() == days * 24
    assert sum(month.values_list("seconds", flat=True)) == days * 86_400


def test_a_month_of_absence_is_caught_up_in_steps_to_the_same_ledger(
    close_until: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster()
    several = [make_assignment(cluster, pair=pair) for pair in (1, 2)]
    for number, assignment in enumerate(several):
        begin_use(assignment, at("10:00") + timedelta(minutes=7 * number))
        end_use(assignment, at("+29 10:00") + timedelta(minutes=7 * number))
    monkeypatch.setattr(close, "ROWS_IN_ONE_GO", 400)
    monkeypatch.setattr(close.late, "HOURS_AT_ONCE", 150)
    runs = 0
    # Each step's clock says that the run is over: it makes none beyond it, and one at least.
    moments = iter(range(1_000_000))
    monkeypatch.setattr(close, "monotonic", lambda: next(moments))
    while not runs or Meter.objects.get().closed_until < at("+31 00:00"):
        assert close.close_hours(at("+31 00:00"), seconds=0.5) <= 100
        runs += 1
        assert runs < 20
    assert runs == 8, "735 hours, a hundred each time"
    for assignment in several:
        assert sum(seconds for seconds, _ in ledger(assignment).values()) == 29 * 86_400
    call_command("billing_check", "--from=2026-03-01", "--to=2026-04-01")


def test_who_was_overtaken_writes_nothing_and_the_ledger_is_whole(
    close_until: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment = make_assignment()
    begin_use(assignment, at("10:00"))
    looked = close.lacking
    others: list[int] = []

    def look_slowly(*args: object, **named: object) -> books.Lacking:
        lack = looked(*args, **named)  # type: ignore[arg-type]
        if not others:
            others.append(0)
            others.append(close.close_hours(at("14:00")))
        return lack

    monkeypatch.setattr(close, "lacking", look_slowly)
    assert close.close_hours(at("14:00")) == 0
    assert others == [0, 5]
    assert ledger(assignment) == {"10": (3600, 0), "11": (3600, 0), "12": (3600, 0), "13": (3600, 0)}
    assert set(UsageRecord.objects.values_list("sequence", flat=True)) == {0}
