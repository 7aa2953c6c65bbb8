"""Bring one assignment nearer to its wish: observe, decide, take one step under the lease, and again.

Level-triggered: it may be called at any time, twice, or late, and by several workers.
"""

import logging
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from egress.control import clock, events, installation
from egress.control.errors import LeaseLost, TransitionConflict
from egress.control.models import Assignment, Event
from egress.control.provider_access import provider
from egress.control.wake import enqueue
from egress.provider.base import ProviderError, RateLimited

from .facts import facts_of
from .failures import GiveUp, backoff_seconds, counts, trying_message, verdict
from .lease import Lease, free
from .plan import POLLS, Act, Step, next_step
from .steps import give_up, take
from .work import Work

log = logging.getLogger(__name__)

#: A run ends after so many steps, or so much time, and asks to be called again.
MAX_STEPS = 40
RUN_SECONDS = 10.0
SWEEP_BATCH = 200


def reconcile(assignment_id: UUID) -> None:
    """Go on with one assignment as far as it goes without waiting; does nothing while another worker has it."""
    if installation.why_still():
        return
    lease = Lease.acquire(assignment_id)
    if lease is None:
        return
    try:
        _run(lease)
    except LeaseLost:
        log.warning("assignment %s: the lease ran out, another worker goes on", assignment_id)
    except Exception:
        # Whatever it was (a bug, a time limit, a lost database), the row must not be tried every second for ever.
        _postpone_after_crash(lease)
        raise
    finally:
        lease.drop()


def sweep() -> None:
    """Enqueue what is due and what nobody works on, longest due first."""
    if installation.why_still():
        return
    now = clock.now()
    # Only who was asked to wait by the provider waits so long; a clock that was set back mustn't hold up the others.
    impossible = now + timedelta(seconds=2 * settings.EGRESS_BACKOFF_MAX_SECONDS)
    too_late = Q(due_at__gt=impossible) & ~Q(error_code=RateLimited.code)
    due = Assignment.objects.filter(free(now), Q(due_at__lte=now) | too_late).order_by("due_at")
    enqueue(due.values_list("pk", flat=True)[:SWEEP_BATCH])


def _run(lease: Lease) -> None:
    polled: set[UUID] = set()
    ends_at = monotonic() + RUN_SECONDS
    for _ in range(MAX_STEPS):
        work = Work(lease, _load(lease.assignment_id), provider)
        step = next_step(facts_of(work.assignment, polled))
        pause = _pause_of(step) if step.act in {Act.WAIT, Act.SETTLED} else _take(step, work, polled)
        if isinstance(pause, _Again):
            if monotonic() > ends_at:
                break
            continue
        if lease.release(due_at=pause, seen_due_at=work.assignment.due_at):
            return
        # Somebody woke us meanwhile: what the provider said may be old now.
        polled.clear()
    assignment = _load(lease.assignment_id)
    lease.release(due_at=clock.now(), seen_due_at=assignment.due_at)


class _Again:
    """Look again at once."""


def _pause_of(step: Step) -> datetime | None:
    return None if step.act is Act.SETTLED else clock.now() + timedelta(seconds=step.wait_seconds)


def _take(step: Step, work: Work, polled: set[UUID]) -> datetime | _Again:
    """Take `step`; returns when to look again."""
    if step.act in POLLS and step.gateway_id is not None:
        polled.add(step.gateway_id)
    try:
        take(step, work)
    except TransitionConflict:
        # A service moved the row under us: decide anew.
        return _Again()
    except ProviderError as error:
        return _after_provider_error(step, work, error)
    return _Again()


def _after_provider_error(step: Step, work: Work, error: ProviderError) -> datetime | _Again:
    assignment = work.assignment
    attempts = assignment.attempts + counts(error)
    log.warning("assignment %s: %s: %s: %s", assignment.pk, step.act.name.lower(), error.code, error)
    decision = verdict(error, step.act, attempts=attempts)
    with work.lease.fenced():
        if isinstance(decision, GiveUp):
            give_up(step, work, error.code, f"{step.act.name.lower()} failed {attempts} times; at last: {error}")
            return _Again()
        if assignment.error_code != error.code:
            subject = f"provider.{step.act.name.lower()}"
            events.record(Event.Kind.PROVIDER, subject, on=assignment, new=error.code, reason=str(error))
        Assignment.objects.filter(pk=assignment.pk).update(
            attempts=attempts, error_code=error.code, error_message=trying_message(error.code)
        )
    return clock.now() + timedelta(seconds=decision.after_seconds)


def _postpone_after_crash(lease: Lease) -> None:
    assignment = _load(lease.assignment_id)
    due_at = clock.now() + timedelta(seconds=backoff_seconds(assignment.attempts + 1))
    mine = Assignment.objects.filter(pk=assignment.pk, lease_owner=lease.owner)
    mine.update(attempts=assignment.attempts + 1, due_at=due_at)


def _load(assignment_id: UUID) -> Assignment:
    return Assignment.objects.select_related("app", "cluster").get(pk=assignment_id)
