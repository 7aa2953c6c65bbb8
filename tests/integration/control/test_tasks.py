"""Every task, run twice: nothing happens twice."""

from collections.abc import Callable

import pytest
from django.test import TestCase
from pytest_django import Settings

from egress.control import naming, tasks
from egress.control.models import AssignmentStatus, Event
from egress.control.reconcile.lease import Lease
from egress.control.services import egress_enable
from portal.config import celery_app

from .fleet import Fleet


def test_reconcile_twice_creates_each_server_once(fleet: Fleet) -> None:
    assignment = egress_enable(app=fleet.app, actor=fleet.user)
    for _ in range(2):
        tasks.reconcile_assignment(str(assignment.pk))
    assert len(fleet.cloud.servers()) == 2
    assert fleet.cloud.calls("create_or_adopt") == 2


HOUSEKEEPING = [tasks.sweep, tasks.watch, tasks.roll, tasks.tidy, tasks.tell, tasks.mail, tasks.forget]


def test_every_task_is_run_twice_here() -> None:
    celery_app.loader.import_default_modules()
    # Billing's are run twice beside their rooms.
    ours = {name for name in celery_app.tasks if not name.startswith(("celery.", "billing."))}
    assert ours == {task.name for task in (tasks.reconcile_assignment, *HOUSEKEEPING)}


@pytest.mark.parametrize("task", HOUSEKEEPING)
def test_housekeeping_twice_changes_nothing_of_what_is_well(fleet: Fleet, task: Callable[[], None]) -> None:
    fleet.bring_up()
    before = Event.objects.count()
    for _ in range(2):
        task()
    assert Event.objects.count() == before
    assert fleet.assignment.status == AssignmentStatus.ACTIVE
    assert len(fleet.cloud.servers()) == 2


def test_the_sweep_twice_before_a_worker_looks_creates_each_server_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    sent: list[str] = []
    monkeypatch.setattr(celery_app, "send_task", lambda _name, arguments, **_: sent.extend(arguments))
    with TestCase.captureOnCommitCallbacks(execute=True):
        tasks.sweep()
        tasks.sweep()
    assert len(sent) == 2
    for assignment_id in sent:
        tasks.reconcile_assignment(assignment_id)
    assert len(fleet.cloud.servers()) == 2


def test_silence_is_noted_once_however_often_it_is_looked_for(fleet: Fleet, settings: Settings) -> None:
    fleet.bring_up()
    # In steps: after a gap nobody would be judged.
    for _ in range(8):
        settings.CLOCK_OFFSET_SECONDS += settings.EGRESS_SILENCE_SECONDS // 2
        tasks.watch()
    silent = Event.objects.filter(kind="health", new="unhealthy")
    assert silent.count() == len(fleet.nodes) + len(fleet.gateways())


def test_a_duplicate_is_deleted_once_however_often_it_is_looked_for(fleet: Fleet) -> None:
    fleet.bring_up()
    fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(fleet.gateways()[0].pk))
    for _ in range(2):
        tasks.tidy()
    assert [server.id for server in fleet.cloud.servers()] == ["1", "2"]
    assert fleet.cloud.calls("delete") == 1


def test_every_scheduled_task_exists() -> None:
    celery_app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in celery_app.conf.beat_schedule.values()}
    assert scheduled <= set(celery_app.tasks)


def test_a_settled_row_whose_worker_died_is_found_and_given_back(
    fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.bring_up()
    assert fleet.assignment.due_at is None
    # A message that came twice: a worker takes the row, and dies.
    Lease.acquire(fleet.assignment.pk)
    sent: list[str] = []
    monkeypatch.setattr(celery_app, "send_task", lambda _name, arguments, **_: sent.extend(arguments))
    settings.CLOCK_OFFSET_SECONDS += settings.EGRESS_LEASE_SECONDS + 1
    with TestCase.captureOnCommitCallbacks(execute=True):
        tasks.sweep()
    assert sent == [str(fleet.assignment.pk)]
    tasks.reconcile_assignment(sent[0])
    assert (fleet.assignment.lease_until, fleet.assignment.due_at) == (None, None)


def test_no_task_outlives_a_lease_or_is_delivered_again_while_it_runs(settings: Settings) -> None:
    assert settings.CELERY_TASK_SOFT_TIME_LIMIT < settings.CELERY_TASK_TIME_LIMIT < settings.EGRESS_LEASE_SECONDS
    assert settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] > settings.CELERY_TASK_TIME_LIMIT
    assert settings.CELERY_TASK_ACKS_LATE
    assert not celery_app.conf.task_always_eager
