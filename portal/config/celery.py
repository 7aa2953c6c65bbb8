"""The Celery application: its settings are Django's, under the prefix CELERY_."""

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

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
