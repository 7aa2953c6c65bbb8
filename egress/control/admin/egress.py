"""The operators' pages of clusters, apps, assignments, gateways and what happened."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

import re
from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, JSONField, OuterRef, Prefetch, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.timesince import timesince
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from egress.control import clock, services
from egress.control.attention import assignment_concerns, event_concerns, gateway_concerns
from egress.control.errors import EgressError
from egress.control.models import App, Assignment, AssignmentStatus, Cluster, Event, Gateway, Node, NodeStatus
from egress.control.selectors import condition_now, latest_per_slot, words_of
from egress.control.waiting import stuck_deletion, waits_for

from .base import (
    COLOURS,
    AttentionFilter,
    EventInline,
    GatewayInline,
    KeepsHistory,
    ReadOnlyAdmin,
    confirmed,
    each,
    on_row,
    operator,
)
from .upkeep import UpkeepActions

HEX = re.compile("0[xX][0-9a-fA-F]{1,16}")


class HexField(forms.IntegerField):
    """A number that is shown in hexadecimal, and read in that or in decimal."""

    def prepare_value(self, value: Any) -> Any:
        """Write 0x…, but what somebody typed as it was typed."""
        return f"{value:#010x}" if isinstance(value, int) else value

    def to_python(self, value: Any) -> int | None:
        """Read either."""
        text = str(value or "").strip()
        return super().to_python(int(text, 16) if HEX.fullmatch(text) else value)


class JsonListField(forms.JSONField):
    """A JSON list; left empty, it is an empty one."""

    def clean(self, value: Any) -> Any:
        """Never return None, which no column takes."""
        cleaned = super().clean(value)
        return [] if cleaned is None else cleaned


@admin.register(Cluster)
class ClusterAdmin(KeepsHistory, ModelAdmin):
    """Clusters: added and edited here; nodes join with the token that the action shows once."""

    list_display = ("name", "region", "vpc", "gateway_size", "nodes_live", "apps_dedicated", "revision")
    search_fields = ("name", "region", "vpc_id")
    list_filter = ("region",)
    readonly_fields = ("epoch", "revision", "clients_revision", "created_at")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("name", "region", "vpc_id", "vpc", "local_networks")}),
        (
            "Gateways",
            {"fields": ("gateway_size", "gateway_image", "flow_deadline_seconds", "internet_targets", "scrapers")},
        ),
        (
            "Data plane on the nodes",
            {"fields": ("mark_mask", "rule_priority", "table_base", "snat_port_first", "snat_port_last")},
        ),
        (
            "How nodes judge gateways",
            {
                "fields": (
                    "probe_interval_ms",
                    "probe_misses_to_suspect",
                    "probe_dead_after_ms",
                    "probe_hold_down_seconds",
                )
            },
        ),
        ("What the control plane counts", {"fields": readonly_fields}),
    )
    actions = ("rotate_join_token",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cluster]:
        """Count along."""
        nodes = Node.objects.filter(cluster=OuterRef("pk"), status=NodeStatus.LIVE)
        assignments = Assignment.objects.filter(cluster=OuterRef("pk")).exclude(status=AssignmentStatus.RELEASED)
        queryset: QuerySet[Cluster] = super().get_queryset(request)
        return queryset.annotate(nodes_now=_count(nodes, "cluster"), apps_now=_count(assignments, "cluster"))

    def get_form(self, request: HttpRequest, obj: Cluster | None = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002  # Django's signature
        """Name and write the fields as people do."""
        labels = {
            "vpc_id": "VPC id",
            "vpc": "VPC network",
            "snat_port_first": "SNAT port first",
            "snat_port_last": "SNAT port last",
            "probe_interval_ms": "Probe interval, ms",
            "probe_misses_to_suspect": "Probes missed to be suspect",
            "probe_dead_after_ms": "Dead after, ms",
            "probe_hold_down_seconds": "Hold-down, s",
        }
        form = super().get_form(request, obj, change, labels=labels, **kwargs)
        if obj and obj.assignments.exclude(status=AssignmentStatus.RELEASED).exists():
            for name in services.FIXED_IN_USE & form.base_fields.keys():
                form.base_fields[name].disabled = True
                form.base_fields[name].help_text = "Fixed while dedicated egress is enabled for apps in this cluster."
        return form

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Show a mask as one; read an empty field as an empty list."""
        if db_field.name == "mark_mask":
            kwargs |= {"form_class": HexField, "widget": UnfoldAdminTextInputWidget()}
        elif isinstance(db_field, JSONField):
            kwargs |= {"form_class": JsonListField, "show_hidden_initial": False}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Cluster, form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Hand on only what was changed: the rest of the row, such as its revision, moves on meanwhile."""
        if not change:
            obj.save()
            return
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        # The form has written into `obj` already; the service compares with what is stored.
        services.cluster_change(cluster=Cluster.objects.get(pk=obj.pk), actor=operator(request), **changes)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say why a change was refused; nothing of it is written then."""
        try:
            answer: HttpResponse = super().changeform_view(request, *args, **kwargs)
        except EgressError as error:
            self.message_user(request, f"Nothing was changed. {error}", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return answer

    @display(description="Live nodes", ordering="nodes_now")
    def nodes_live(self, cluster: Any) -> int:
        """Count the nodes that must know every route."""
        return int(cluster.nodes_now)

    @display(description="Apps with their own addresses", ordering="apps_now")
    def apps_dedicated(self, cluster: Any) -> int:
        """Count the assignments that aren't released."""
        return int(cluster.apps_now)

    @action(description="New join token", permissions=["change"])
    def rotate_join_token(self, request: HttpRequest, queryset: QuerySet[Cluster]) -> HttpResponse:
        """Show the new tokens on a page of their own, once: they are stored nowhere, not even in a message."""
        question = "Give these clusters a new join token? The old one is void at once."
        ask = confirmed(self, request, queryset, action="rotate_join_token", question=question)
        if ask:
            return ask
        actor = operator(request)
        tokens = [(cluster, services.join_token_rotate(cluster=cluster, actor=actor)) for cluster in queryset]
        context = {**self.admin_site.each_context(request), "title": "New join tokens", "tokens": tokens}
        # The admin forbids caching of all its pages.
        return TemplateResponse(request, "control/admin/join_tokens.html", context)


@admin.register(App)
class AppAdmin(KeepsHistory, ModelAdmin):
    """Apps: registered here by hand; what ties one to its cluster can't be changed afterwards."""

    list_display = ("name", "team", "cluster", "namespace", "egress")
    list_filter = ("cluster",)
    search_fields = ("name", "namespace", "team__name", "=id")
    list_select_related = ("team", "cluster")
    autocomplete_fields = ("team", "cluster")
    inlines = (EventInline,)
    list_per_page = 50

    def get_readonly_fields(self, request: HttpRequest, obj: App | None = None) -> tuple[str, ...]:
        """Fix what routes and invoices hang on."""
        del request
        return ("id", "team", "cluster", "namespace", "created_at") if obj else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[App]:
        """Bring the present assignment's status along."""
        present = Assignment.objects.filter(app=OuterRef("pk")).exclude(status=AssignmentStatus.RELEASED)
        queryset: QuerySet[App] = super().get_queryset(request)
        return queryset.annotate(egress_now=Coalesce(Subquery(present.values("status")[:1]), Value("shared")))

    @display(description="Egress", ordering="egress_now", label=COLOURS)
    def egress(self, app: Any) -> str:
        """Show the present assignment's status."""
        return str(app.egress_now)


class AssignmentAttention(AttentionFilter):
    """Assignments to look at."""

    concerns = staticmethod(assignment_concerns)


@admin.register(Assignment)
class AssignmentAdmin(ReadOnlyAdmin[Assignment]):
    """Assignments: what is stuck and why; retry and disable."""

    list_display = ("app", "team", "cluster", "shown_status", "pair", "wish", "lasts", "waits", "attempts", "addresses")
    list_filter = (AssignmentAttention, "status", "wish", "cluster")
    search_fields = ("app__name", "app__team__name", "gateways__public_address", "gateways__server_id", "=id")
    list_select_related = ("app__team", "cluster", "standing")
    shown_first: ClassVar[tuple[str, ...]] = ("app", "team", "cluster", "wish", "status", "waits")
    inlines = (GatewayInline, EventInline)
    actions = ("retry", "disable")
    actions_detail = ("retry_this", "disable_this")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Assignment]:
        """Bring along what tells what each waits for: its gateways and the cluster's nodes."""
        nodes = Node.objects.filter(status=NodeStatus.LIVE).order_by("name")
        queryset: QuerySet[Assignment] = super().get_queryset(request)
        return queryset.prefetch_related("gateways", Prefetch("cluster__nodes", nodes, to_attr="nodes_now"))

    @display(description="Team", ordering="app__team__name")
    def team(self, assignment: Assignment) -> str:
        """Name the customer."""
        return assignment.app.team.name

    @display(description="Status", ordering="status", label=COLOURS)
    def shown_status(self, assignment: Assignment) -> str:
        """Show the status in its colour."""
        return assignment.status

    @display(description="Pair", label=COLOURS)
    def pair(self, assignment: Any) -> str:
        """Show how a pair in use fares, as its owner sees it; what it waits for says why."""
        words = words_of(assignment.cluster.nodes_now, assignment.app.namespace)
        condition, _ = condition_now(assignment, latest_per_slot(assignment), words)
        return condition.state if condition else ""

    @display(description="For", ordering="status_since")
    def lasts(self, assignment: Assignment) -> str:
        """Say how long it has had this status."""
        return timesince(assignment.status_since, clock.now(), depth=1)

    @display(description="Waits for")
    def waits(self, assignment: Any) -> str:
        """Say what holds it up."""
        return waits_for(assignment, assignment.cluster.nodes_now) or "-"

    @display(description="Addresses")
    def addresses(self, assignment: Assignment) -> str:
        """Show the addresses that aren't gone."""
        gateways = [gateway for gateway in assignment.gateways.all() if gateway.deleted_at is None]
        return ", ".join(gateway.public_address for gateway in gateways if gateway.public_address) or "-"

    @action(description="Retry what failed", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Assignment]) -> None:
        """Retry."""
        each(self, request, queryset, _retry(request), "is tried again")

    @action(description="Disable (addresses are lost)", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Assignment]) -> HttpResponse | None:
        """Disable, once it is confirmed."""
        ask = confirmed(self, request, queryset, action="disable", question=_DISABLE)
        if ask is None:
            each(self, request, queryset, _disable(request), "is disabled")
        return ask

    @action(description="Retry", permissions=["operate"], url_path="retry")
    def retry_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Retry, from its own page."""
        question = "Try again what failed here?"
        return on_row(self, request, object_id, question=question, service=_retry(request), done="is tried again")

    @action(description="Disable", permissions=["operate"], url_path="disable", variant=ActionVariant.DANGER)
    def disable_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Disable, from its own page."""
        return on_row(self, request, object_id, question=_DISABLE, service=_disable(request), done="is disabled")


_DISABLE = "Disable dedicated egress here? The addresses are lost."


def _retry(request: HttpRequest) -> Callable[[Assignment], object]:
    return lambda row: services.egress_retry(app=row.app, actor=operator(request))


def _disable(request: HttpRequest) -> Callable[[Assignment], object]:
    return lambda row: services.egress_disable(app=row.app, actor=operator(request))


class GatewayAttention(AttentionFilter):
    """Gateways to look at."""

    concerns = staticmethod(gateway_concerns)


@admin.register(Gateway)
class GatewayAdmin(UpkeepActions, ReadOnlyAdmin[Gateway]):
    """Gateways: found by address, server or app."""

    list_display = (
        "__str__",
        "shown_status",
        "shown_maintenance",
        "shown_health",
        "public_address",
        "server_id",
        "reported_at",
        "trouble",
    )
    list_filter = (GatewayAttention, "provisioning_status", "health", "assignment__cluster")
    search_fields = ("assignment__app__name", "=public_address", "=private_address", "=server_id", "=id")
    list_select_related = ("assignment__app",)
    #: The command line wants its id.
    shown_first: ClassVar[tuple[str, ...]] = (
        "id",
        "assignment",
        "slot",
        "provisioning_status",
        "maintenance",
        "health",
        "trouble",
    )
    inlines = (EventInline,)

    @display(description="Status", ordering="provisioning_status", label=COLOURS)
    def shown_status(self, gateway: Gateway) -> str:
        """Show what we did, in its colour."""
        return gateway.provisioning_status

    @display(description="For")
    def shown_maintenance(self, gateway: Gateway) -> str:
        """Say what it is drained or in maintenance for."""
        return gateway.get_maintenance_display() or "-"

    @display(description="Health", ordering="health", label=COLOURS)
    def shown_health(self, gateway: Gateway) -> str:
        """Show what we observe, in its colour."""
        return gateway.health

    @display(description="Trouble")
    def trouble(self, gateway: Gateway) -> str:
        """Say what it lacks, by its own word or ours."""
        return stuck_deletion(gateway) or gateway.finding_reason or gateway.detail or "-"


class EventAttention(AttentionFilter):
    """Events to look into."""

    concerns = staticmethod(event_concerns)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin[Event]):
    """History, newest first."""

    list_display = ("at", "subject", "app", "gateway", "node", "old", "new", "reason", "actor")
    list_filter = (EventAttention, "kind", "subject", "cluster")
    search_fields = ("app__name", "node__name", "reason")
    list_select_related = ("app", "gateway__assignment__app", "node", "actor")
    date_hierarchy = "at"
    actions = ("seen",)
    actions_detail = ("seen_this",)

    @action(description="Looked into (security)", permissions=["operate"])
    def seen(self, request: HttpRequest, queryset: QuerySet[Event]) -> None:
        """Take them off the start page."""
        each(self, request, queryset, _seen(request), "needs no look any more")

    @action(description="Looked into", permissions=["operate"], url_path="seen")
    def seen_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take it off the start page, from its own page."""
        question, done = "Has this been looked into?", "needs no look any more"
        return on_row(self, request, object_id, question=question, service=_seen(request), done=done)


def _seen(request: HttpRequest) -> Callable[[Event], object]:
    return lambda event: services.security_seen(event=event, actor=operator(request))


def _count(rows: QuerySet[Any], by: str) -> Coalesce:
    """Return how many `rows` there are to each outer row, as a query of its own: joins would multiply."""
    counted = rows.order_by().values(by).annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted), 0)
