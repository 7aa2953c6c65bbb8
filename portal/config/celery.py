"""The Celery application: its settings are Django's, under the prefix CELERY_."""

import os
import time
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, task_postrun, task_prerun
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from egress.control.metrics import tallies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")

celery_app = Celery("sluicegate")
celery_app.config_from_object("django.conf:settings", namespace="CELERY")
celery_app.autodiscover_tasks()


@celeryd_init.connect
def require_key(**_: Any) -> None:
    """Refuse to start a worker without a SECRET_KEY. Celery logs any other exception of a handler and goes on."""
    try:
        settings.SECRET_KEY  # noqa: B018  # reading it raises where there is none
    except ImproperlyConfigured as error:
        raise SystemExit(f"{error} Set SECRET_KEY in the environment.") from None


#: When the tasks under way in this process began.
_began: dict[str, float] = {}


@task_prerun.connect
def note_begin(task_id: str, **_: Any) -> None:
    """Note when a task begins."""
    _began[task_id] = time.monotonic()


@task_postrun.connect
def count_end(task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
    """Count a task that ended, and how. One that was killed isn't."""
    seconds = time.monotonic() - _began.pop(task_id, time.monotonic())
    tallies.task_ended(task.name.rpartition(".")[2], seconds, failed=state == "FAILURE")
