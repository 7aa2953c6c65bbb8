"""Find the closed hours that facts which came late concern, and look at these again: not at all of history.

New events and pivots are found by their numbers, which grow. But of two transactions the one with the higher number may
be seen first: so a mark is set at the highest number, and what is below it is looked at once nothing can be written
there any more. Events that were there when their hour was closed concern nobody; the others say which hours to look at.

Nodes that weren't heard yet leave a doubt, which is looked at again and again, ever more rarely.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from time import monotonic
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import Max, Min

from billing.models import Meter, Recheck
from egress.control import clock, events
from egress.control.models import METERED, Event
from egress.control.models_told import Pivot

from .books import lacking, put, writing
from .evidence import HOUR, hour_of

#: Longer than any transaction that writes an event or a pivot goes on.
SETTLE: Final = timedelta(minutes=10)
#: A doubt is looked at again after an hour, and then after this share of its age; after a day at the latest.
AGAIN_AFTER_SHARE: Final = 4
AGAIN_AT_LATEST: Final = timedelta(days=1)
#: Nodes' pivots aren't taken any more at this age: what isn't told by then, never will be.
DOUBT_ENDS: Final = timedelta(days=41)
#: So many assignments' hours are looked at in one go, two rows each at most.
HOURS_AT_ONCE: Final = 2_500
#: The rest is left to the next run.
RECHECKS_IN_ONE_RUN: Final = 20_000
_ROWS_AT_ONCE: Final = 1_000
#: The reason of one that has no cause yet.
DOUBT: Final = "nodes were heard of later"


def note(meter: Meter) -> None:
    """Note which assignments to look at again, once the marks have settled, and set new ones. Raises Overtaken."""
    now = clock.unmoved()
    # A clock that was put back must not stop it.
    if timedelta() <= now - meter.marked_at < SETTLE:
        return
    new = Event.objects.filter(pk__gt=meter.events_seen, pk__lte=meter.events_mark, subject__in=METERED)
    told = Pivot.objects.filter(pk__gt=meter.pivots_seen, pk__lte=meter.pivots_mark)
    late_events = new.filter(at__lt=meter.closed_until, assignment__isnull=False)
    late_pivots = told.filter(moved_at__lt=meter.closed_until)
    late = [
        (pk, at, f"events came late, the last of them #{number}")
        for pk, at, number in late_events.order_by().values_list("assignment").annotate(Min("at"), Max("pk"))
    ] + [
        (pk, at, "nodes told of pivots late")
        for pk, at in late_pivots.order_by().values_list("assignment").annotate(Min("moved_at"))
    ]
    with writing(
        meter,
        events_seen=meter.events_mark, events_mark=highest(Event),
        pivots_seen=meter.pivots_mark, pivots_mark=highest(Pivot), marked_at=now,
    ):  # fmt: skip
        look_again(late)


def highest(rows: type[Event | Pivot]) -> int:
    """Return the highest number that a row has; 0 without any."""
    return int(rows.objects.aggregate(highest=Max("pk"))["highest"] or 0)


def look_again(late: Iterable[tuple[UUID, datetime, str]]) -> None:
    """Note that closed hours from these times on are to be looked at again, inside `books.writing`."""
    first: dict[UUID, Recheck] = {}
    for pk, since, reason in late:
        if pk not in first or hour_of(since) < first[pk].since:
            first[pk] = Recheck(assignment_id=pk, since=hour_of(since), reason=reason, due_at=_due(since, reason))
    for noted in Recheck.objects.filter(assignment__in=first):
        again = first[noted.assignment_id]
        again.since, again.due_at = min(again.since, noted.since), min(again.due_at, noted.due_at)
    Recheck.objects.bulk_create(
        first.values(), batch_size=_ROWS_AT_ONCE,
        update_conflicts=True, unique_fields=["assignment"], update_fields=["since", "due_at", "reason"],
    )  # fmt: skip


def _due(since: datetime, reason: str) -> datetime:
    """Return when to look again: at once, but for a doubt."""
    if reason != DOUBT:
        return clock.unmoved()
    return clock.unmoved() + min(max(HOUR, (clock.now() - since) / AGAIN_AFTER_SHARE), AGAIN_AT_LATEST)


def correct(meter: Meter, *, ends_at: float = float("inf")) -> None:
    """Look again at the hours that are due for it; at some at least, then until `ends_at`. Raises Overtaken.

    `ends_at` is a time of the monotonic clock.
    """
    due = Recheck.objects.filter(due_at__lte=clock.unmoved()).order_by("since", "pk")
    for since, group in groupby(list(due[:RECHECKS_IN_ONE_RUN]), key=attrgetter("since")):
        several = list(group)
        hours = max(1, (meter.closed_until - max(since, earliest())) // HOUR)
        for some in _parts(several, max(1, HOURS_AT_ONCE // hours)):
            _correct(meter, some, since)
            if monotonic() > ends_at:
                return


def earliest() -> datetime:
    """Return the earliest hour that can still be told anew: what nodes told of older ones is forgotten."""
    return hour_of(clock.now() - timedelta(days=settings.EGRESS_TOLD_KEPT_DAYS - 1))


def _leave_to_operators(rechecks: list[Recheck], begin: datetime) -> None:
    """Say that what these are about is too old: nobody would else know that the ledger isn't what events say."""
    for one in rechecks:
        reason = (
            f"assignment {one.assignment_id}: {one.reason}; its hours from {one.since:%Y-%m-%d %H:%M} to"
            f" {begin:%Y-%m-%d %H:%M} UTC stay as they were closed, for what nodes told of outages then is forgotten."
            " Put it right by a credit where that matters"
        )
        events.record(Event.Kind.PROVIDER, "billing.too_late", on=None, new="ignored", reason=reason)


def _parts(rechecks: list[Recheck], size: int) -> Iterator[list[Recheck]]:
    for first in range(0, len(rechecks), size):
        yield rechecks[first : first + size]


def _correct(meter: Meter, rechecks: list[Recheck], since: datetime) -> None:
    begin = max(since, earliest())
    reasons: dict[UUID, str] = {one.assignment_id: one.reason for one in rechecks}
    lack = lacking(list(reasons), begin, meter.closed_until)
    with writing(meter):
        put(lack, reasons)
        Recheck.objects.filter(pk__in=[one.pk for one in rechecks]).delete()
        doubt(lack.unheard_since)
        if since < begin:
            _leave_to_operators([one for one in rechecks if one.reason != DOUBT], begin)


def doubt(unheard_since: Mapping[UUID, datetime]) -> None:
    """Note that these assignments' hours may be told otherwise, inside `books.writing`."""
    look_again((pk, max(since, clock.now() - DOUBT_ENDS), DOUBT) for pk, since in unheard_since.items())
