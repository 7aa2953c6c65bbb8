"""Addresses that the platform holds for who had their egress taken away: until when, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from . import clock
from .models import Assignment, AssignmentStatus, Event, Wish

#: For programs.
CODE = "addresses_held"


@dataclass(frozen=True, slots=True)
class Hold:
    """Dedicated egress was disabled by the platform; the pair's addresses are given back if that is put right."""

    until: datetime
    #: Such as "invoices are unpaid".
    reason: str

    @property
    def message(self) -> str:
        """What is the matter, and what follows."""
        return (
            f"The platform disabled dedicated egress: {self.reason}. Both addresses are held for you until"
            f" {self.until:%Y-%m-%d %H:%M} UTC; put it right before, and they are yours again."
        )


def holds_of(assignments: Iterable[Assignment]) -> dict[UUID, Hold]:
    """Return the holds of those that have one, by assignment: one query, and none where nothing is held."""
    now = clock.now()
    held = {
        each.pk: each.held_until
        for each in assignments
        if each.held_until and each.held_until > now and each.wish == Wish.DISABLED and each.status in _HELD
    }
    if not held:
        return {}
    asked = Event.objects.filter(assignment__in=held, subject="egress.disable").order_by("at", "id")
    reasons = dict(asked.values_list("assignment", "reason"))
    return {pk: Hold(until, reasons.get(pk, "")) for pk, until in held.items()}


_HELD = (AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE, AssignmentStatus.DRAINING)
