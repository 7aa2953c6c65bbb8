"""Every task, run twice: nothing happens twice."""

from collections.abc import Callable

import pytest
from pytest_django import Settings

from egress.control import tasks
from egress.control.models import AssignmentStatus, Event
from egress.control.services import egress_enable
from portal.config import celery_app

from .fleet import Fleet


def test_reconcile_twice_creates_each_server_once(fleet: Fleet) -> None:
    assignment = egress_enable(app=fleet.app, actor=fleet.user)
    for _ in range(2):
        tasks.reconcile_assignment(str(assignment.pk))
    assert len(fleet.cloud.servers()) == 2
    assert fleet.cloud.calls("create_or_adopt") == 2


@pytest.mark.parametrize("task", [tasks.sweep, tasks.watch, tasks.tidy])
def test_housekeeping_twice_changes_nothing_of_what_is_well(fleet: Fleet, task: Callable[[], None]) -> None:
    fleet.bring_up()
    before = Event.objects.count()
    for _ in range(2):
        task()
    assert Event.objects.count() == before
    assert fleet.assignment.status == AssignmentStatus.ACTIVE
    assert len(fleet.cloud.servers()) == 2


def test_every_scheduled_task_exists() -> None:
    celery_app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in celery_app.conf.beat_schedule.values()}
    assert scheduled <= set(celery_app.tasks)


def test_no_task_outlives_a_lease_or_is_delivered_again_while_it_runs(settings: Settings) -> None:
    assert settings.CELERY_TASK_SOFT_TIME_LIMIT < settings.CELERY_TASK_TIME_LIMIT < settings.EGRESS_LEASE_SECONDS
    assert settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] > settings.CELERY_TASK_TIME_LIMIT
    assert settings.CELERY_TASK_ACKS_LATE
    assert not celery_app.conf.task_always_eager
