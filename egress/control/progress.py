"""The way of an assignment in words: which steps there are, and how far it got."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .models import SLOTS, Assignment, AssignmentStatus, Event, Gateway, GatewayStatus, Wish

StepState = Literal["done", "current", "waiting", "failed"]
_CREATED = {GatewayStatus.BOOTING, GatewayStatus.READY, GatewayStatus.DRAINING, GatewayStatus.MAINTENANCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step on the way; `at` is when it was done."""

    name: str
    label: str
    state: StepState
    at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    label: str
    done: bool
    detail: str = ""
    at: datetime | None = None


def steps_of(assignment: Assignment, gateways: Sequence[Gateway], *, nodes: int, lagging: int) -> tuple[Step, ...]:
    """Return the steps towards the wish: those done, the current or failed one, and those to come."""
    when = _times(assignment)
    updated = f"{nodes - lagging} of {nodes} nodes updated" if assignment.target_revision is not None else ""
    stages = _enabling if assignment.wish == Wish.ENABLED else _disabling
    return _walk(assignment, stages(assignment, gateways, updated, when))


def _enabling(
    assignment: Assignment, gateways: Sequence[Gateway], updated: str, when: Callable[[str], datetime | None]
) -> list[_Stage]:
    created = [gateway for gateway in gateways if gateway.provisioning_status in _CREATED]
    ready = [gateway for gateway in gateways if gateway.provisioning_status == GatewayStatus.READY]
    routed = assignment.status in {AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE}
    active = assignment.status == AssignmentStatus.ACTIVE
    return [
        _Stage("requested", "Requested", done=True, at=assignment.created_at),
        _Stage(
            "created",
            "Create two gateways",
            len(created) == len(SLOTS) or routed,
            f"{len(created)} of 2",
            when("booting"),
        ),
        _Stage("ready", "Start them and check that they forward", routed, f"{len(ready)} of 2", when("distributing")),
        _Stage("applied", "Tell every node", active, updated, when("active")),
        _Stage("active", "Traffic leaves from your own addresses", active, at=when("active")),
    ]


def _disabling(
    assignment: Assignment, gateways: Sequence[Gateway], updated: str, when: Callable[[str], datetime | None]
) -> list[_Stage]:
    releasing = assignment.status == AssignmentStatus.RELEASING
    deletion = {GatewayStatus.DELETING, GatewayStatus.DELETED}
    withdrawn = releasing and all(gateway.provisioning_status in deletion for gateway in gateways)
    deleted = sum(gateway.provisioning_status == GatewayStatus.DELETED for gateway in gateways)
    return [
        _Stage("requested", "Disabling requested", done=True, at=when("egress.disable")),
        _Stage("drained", "Finish open connections", releasing, at=when("releasing")),
        _Stage("withdrawn", "Take the route off every node", withdrawn, updated, when("deleting")),
        _Stage("released", "Release the addresses", done=False, detail=f"{deleted} of {len(gateways)}"),
    ]


def _walk(assignment: Assignment, stages: list[_Stage]) -> tuple[Step, ...]:
    failed = assignment.status == AssignmentStatus.ERROR and assignment.wish == Wish.ENABLED
    first_open = next((index for index, stage in enumerate(stages) if not stage.done), len(stages))
    steps = []
    for index, stage in enumerate(stages):
        state: StepState = "done" if index < first_open else "waiting"
        detail = stage.detail
        if index == first_open:
            state = "failed" if failed else "current"
            detail = assignment.error_message or detail
        done_at = stage.at if state == "done" else None
        steps.append(Step(name=stage.name, label=stage.label, state=state, at=done_at, detail=detail))
    return tuple(steps)


def _times(assignment: Assignment) -> Callable[[str], datetime | None]:
    """Return a look-up of when a status was last entered, or a request last made."""
    kinds = (Event.Kind.STATUS, Event.Kind.REQUEST)
    rows = assignment.events.filter(kind__in=kinds).order_by("at", "id").values_list("subject", "new", "at")
    return {new or subject: at for subject, new, at in rows}.get
