"""The control plane's settings with shorter leases and time limits, so that a killed worker's rows are free sooner."""

from portal.config.settings import *  # noqa: F403  # all of them

CELERY_TASK_SOFT_TIME_LIMIT = 8
CELERY_TASK_TIME_LIMIT = 9
EGRESS_LEASE_SECONDS = 10
EGRESS_BACKOFF_MAX_SECONDS = 5
