"""Hold a row for a while: a compare-and-swap in the database, so that it also holds between machines.

The lease lasts longer than a task may run, so its owner is dead, or has given up, when it expires. Every write
under it is fenced: it happens in a transaction that finds, and renews, the lease.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Coalesce

from egress.control import clock
from egress.control.errors import LeaseLost
from egress.control.models import Assignment

#: Two machines may read the database's clock so differently.
CLOCKS_APART = timedelta(seconds=10)


def free(now: datetime) -> Q:
    """Return the condition under which an assignment can be had.

    A lease never lasts longer than a fresh one, unless the clock was set back since: nobody knows then how old it is.
    """
    impossible = _until(now) + CLOCKS_APART
    return Q(lease_until__isnull=True) | Q(lease_until__lte=now) | Q(lease_until__gt=impossible)


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's hold on one assignment."""

    assignment_id: UUID
    owner: str

    @classmethod
    def acquire(cls, assignment_id: UUID) -> Self | None:
        """Return a lease, or None while somebody else has it or when there is no such row.

        A settled row becomes due: should its new owner die, the sweep finds it, and it is given back.
        """
        now, owner = clock.now(), secrets.token_hex(16)
        row = Assignment.objects.filter(free(now), pk=assignment_id)
        due_at = Coalesce("due_at", Value(now))
        held = row.update(lease_owner=owner, lease_until=_until(now), due_at=due_at)
        return cls(assignment_id, owner) if held else None

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Run a transaction that is sure to hold the lease, and renew it. Raises LeaseLost."""
        with transaction.atomic():
            now = clock.now()
            held = Assignment.objects.filter(pk=self.assignment_id, lease_owner=self.owner, lease_until__gt=now)
            if not held.update(lease_until=_until(now)):
                raise LeaseLost
            yield

    def renew(self) -> None:
        """Make the lease last its full time again, before a slow call. Raises LeaseLost."""
        with self.fenced():
            pass

    def release(self, *, due_at: datetime | None, seen_due_at: datetime | None) -> bool:
        """Give the row back, to be looked at again at `due_at`; False when it was woken since `seen_due_at` was read.

        A lease that expired has nothing to give back: True.
        """
        mine = Assignment.objects.filter(pk=self.assignment_id, lease_owner=self.owner)
        unwoken = Q(due_at=seen_due_at) if seen_due_at is not None else Q(due_at__isnull=True)
        freed = mine.filter(unwoken).update(due_at=due_at, lease_owner="", lease_until=None)
        return bool(freed) or not mine.exists()

    def drop(self) -> None:
        """Give the row back whatever happened, its due time as it is."""
        Assignment.objects.filter(pk=self.assignment_id, lease_owner=self.owner).update(
            lease_owner="", lease_until=None
        )


def _until(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.EGRESS_LEASE_SECONDS)
