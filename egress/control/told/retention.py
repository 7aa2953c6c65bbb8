"""Delete what nobody needs any more, a bounded number of rows at a time."""

from datetime import timedelta

from django.conf import settings
from django.db.models import Model, QuerySet

from egress.control import clock
from egress.control.models_told import Carry, Notification, Pivot

#: Of one table in one run; the next goes on.
BATCH = 10_000


def forget() -> None:
    """Delete pivots, carries that ended, and notifications with their mails, that are older than `KEPT_DAYS`."""
    age = timedelta(days=settings.EGRESS_TOLD_KEPT_DAYS)
    _delete(Pivot.objects.filter(told_at__lt=clock.unmoved() - age))
    _delete(Carry.objects.filter(until__lt=clock.now() - age))
    _delete(Notification.objects.filter(created_at__lt=clock.now() - age))


def _delete(rows: QuerySet[Model]) -> None:
    oldest = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
    rows.filter(pk__in=oldest).delete()
