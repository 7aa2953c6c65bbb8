"""The operators' start page: what needs a look first, and how much there is of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, F, Model, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.module_loading import import_string

from egress.control import installation
from egress.control.attention import (
    Concern,
    any_of,
    assignment_concerns,
    event_concerns,
    gateway_concerns,
    installation_concerns,
    node_concerns,
    repair_concerns,
    rollout_concerns,
    stray_concerns,
)
from egress.control.models import Assignment, AssignmentStatus, Event, Gateway, GatewayStatus, Node, NodeStatus
from egress.control.models_installation import Installation, StrayServer
from egress.control.models_repair import ClusterRepair
from egress.control.models_rollouts import UNDER_WAY, Rollout

ROWS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How many rows have a concern, and where they are listed."""

    label: str
    count: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row that needs a look: its name, what is the matter, and since when."""

    name: str
    url: str
    matter: str
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One kind of rows; `rows` holds at most `ROWS_SHOWN` of the `waiting` ones, `since` says what their times are."""

    title: str
    url: str
    total: int
    waiting: int
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Which rows of a model need a look, and how that is told."""

    #: The rows that count.
    alive: Q
    concerns: tuple[Concern, ...]
    #: Takes the rows' admin page and a row; returns what is the matter, and since when.
    describe: Callable[[Any, Any], tuple[str, datetime | None]]
    since: str
    #: The column of that time: the oldest come first.
    column: str
    #: "" is the model's.
    title: str = ""


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the sections that this person may see to the start page's context: a few queries whatever there is."""
    kinds = _kinds() | _kinds_above()
    pages = ((admin.site.get_model_admin(model), kind) for model, kind in kinds.items())
    context["title"] = "What needs a look"
    context["sections"] = [_section(request, page, kind) for page, kind in pages if page.has_view_permission(request)]
    return context


def _kinds() -> dict[type[Model], Kind]:
    return {
        Assignment: Kind(
            alive=~Q(status=AssignmentStatus.RELEASED),
            concerns=assignment_concerns(),
            describe=_assignment,
            since="In this status since",
            column="status_since",
        ),
        Gateway: Kind(
            alive=~Q(provisioning_status=GatewayStatus.DELETED),
            concerns=gateway_concerns(),
            describe=_gateway,
            since="Last report",
            column="reported_at",
        ),
        Node: Kind(
            alive=Q(status=NodeStatus.LIVE),
            concerns=node_concerns(),
            describe=_node,
            since="Last report",
            column="reported_at",
        ),
        Rollout: Kind(
            alive=Q(status__in=UNDER_WAY),
            concerns=rollout_concerns(),
            describe=_rollout,
            since="Since",
            column="created_at",
        ),
        StrayServer: Kind(
            alive=Q(),
            concerns=stray_concerns(),
            describe=_stray,
            since="Found",
            column="found_at",
        ),
        Event: Kind(
            alive=Q(kind=Event.Kind.SECURITY),
            concerns=event_concerns(),
            describe=_event,
            since="At",
            column="at",
            title="security events",
        ),
        ClusterRepair: Kind(
            alive=Q(),
            concerns=repair_concerns(),
            describe=_repair,
            since="Since",
            column="stopped_at",
        ),
        Installation: Kind(
            alive=Q(),
            concerns=installation_concerns(),
            describe=_installation,
            since="Since",
            column="held_since",
        ),
    }


def _kinds_above() -> dict[type[Model], Kind]:
    """Return what the rooms above want looked at: `START_SECTIONS` names their functions."""
    return {model: kind for path in settings.START_SECTIONS for model, kind in import_string(path)().items()}


def _section(request: HttpRequest, page: Any, kind: Kind) -> Section:
    anything = any_of(kind.concerns)
    by_concern = {concern.key: Count("pk", filter=concern.where) for concern in kind.concerns}
    # The others of a long history aren't counted through. An empty Q means all rows, but gets lost in an "or".
    worth_counting = kind.alive and kind.alive | anything
    counts = page.model.objects.filter(worth_counting).aggregate(
        total=Count("pk", filter=kind.alive), any=Count("pk", filter=anything), **by_concern
    )
    url = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_changelist")
    waiting = page.get_queryset(request).select_related(*page.list_select_related).filter(anything)
    oldest = waiting.order_by(F(kind.column).asc(nulls_first=True))[:ROWS_SHOWN]
    return Section(
        title=kind.title or page.opts.verbose_name_plural,
        url=url,
        total=counts["total"],
        waiting=counts["any"],
        figures=tuple(
            Figure(label=concern.label, count=counts[concern.key], url=f"{url}?attention={concern.key}")
            for concern in kind.concerns
        ),
        rows=tuple(_row(row, *kind.describe(page, row)) for row in oldest),
        since=kind.since,
    )


def _row(row: Model, matter: str, since: datetime | None) -> Row:
    opts = row._meta  # noqa: SLF001  # Django's documented model API
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])
    return Row(name=str(row), url=url, matter=matter, since=since)


def _assignment(page: Any, row: Assignment) -> tuple[str, datetime | None]:
    return f"{row.status}: {page.waits(row)}", row.status_since


def _gateway(page: Any, row: Gateway) -> tuple[str, datetime | None]:
    return f"{row.provisioning_status}, {row.health}: {page.trouble(row)}", row.reported_at


def _rollout(page: Any, row: Rollout) -> tuple[str, datetime | None]:
    return f"{page.done(row)} gateways done: {row.reason}", row.created_at


def _stray(page: Any, row: StrayServer) -> tuple[str, datetime | None]:
    return f"no row knows it; made for {page.made_for(row)}; order: {page.order(row)}", row.found_at


def _event(page: Any, row: Event) -> tuple[str, datetime | None]:
    del page
    about = row.gateway or row.node
    return (f"{about}: " if about else "") + row.reason, row.at


def _repair(page: Any, row: ClusterRepair) -> tuple[str, datetime | None]:
    del page
    return row.reason, row.stopped_at


def _installation(page: Any, row: Installation) -> tuple[str, datetime | None]:
    del page
    tripped = "the deletion breaker tripped: nothing is tidied up until it is reset" if row.tripped_at else ""
    return "; ".join(filter(None, (installation.why_still(), tripped))), row.held_since or row.tripped_at


def _node(page: Any, row: Node) -> tuple[str, datetime | None]:
    routes = f"routes {page.behind(row)}"
    return f"{row.health}, {routes}" + (f": {row.detail}" if row.detail else ""), row.reported_at
