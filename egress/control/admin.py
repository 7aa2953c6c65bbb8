"""The operators' pages. They look at everything and change statuses only through services."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.timesince import timesince
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from . import clock, services
from .admin_base import COLOURS, EventInline, ReadOnlyAdmin, confirmed, each
from .models import App, Assignment, AssignmentStatus, Cluster, Event, Gateway, Node, NodeStatus, RouteChange
from .waiting import LONG_SECONDS, waits_for

_SETTLED = (AssignmentStatus.ACTIVE, AssignmentStatus.RELEASED)


@admin.register(Cluster)
class ClusterAdmin(ModelAdmin):
    """Clusters: added and edited here; nodes join with the token that the action shows once."""

    list_display = ("name", "region", "vpc", "gateway_size", "nodes_live", "apps_dedicated", "revision")
    search_fields = ("name", "region", "vpc_id")
    list_filter = ("region",)
    readonly_fields = ("epoch", "revision", "clients_revision", "created_at")
    actions = ("rotate_join_token",)

    def save_model(self, request: HttpRequest, obj: Cluster, form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Write only what was changed: the rest of the row, such as its revision, moves on meanwhile."""
        del request
        obj.save(update_fields=form.changed_data if change else None)

    @display(description="Live nodes")
    def nodes_live(self, cluster: Cluster) -> int:
        """Count the nodes that must know every route."""
        return cluster.nodes.filter(status=NodeStatus.LIVE).count()

    @display(description="Apps with their own addresses")
    def apps_dedicated(self, cluster: Cluster) -> int:
        """Count the assignments that aren't released."""
        return cluster.assignments.exclude(status=AssignmentStatus.RELEASED).count()

    @action(description="Rotate join token (the old one is void at once)", permissions=["change"])
    def rotate_join_token(self, request: HttpRequest, queryset: QuerySet[Cluster]) -> HttpResponse:
        """Show the new tokens on a page of their own, once: they are stored nowhere, not even in a message."""
        question = "Give these clusters a new join token?"
        ask = confirmed(self, request, queryset, action="rotate_join_token", question=question)
        if ask:
            return ask
        actor = _operator(request)
        tokens = [(cluster, services.join_token_rotate(cluster=cluster, actor=actor)) for cluster in queryset]
        context = {**self.admin_site.each_context(request), "title": "New join tokens", "tokens": tokens}
        # The admin forbids caching of all its pages.
        return TemplateResponse(request, "control/admin/join_tokens.html", context)


@admin.register(App)
class AppAdmin(ModelAdmin):
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

    @display(description="Egress", label=COLOURS)
    def egress(self, app: App) -> str:
        """Show the present assignment's status."""
        assignment = services.current_assignment(app)
        return assignment.status if assignment else "shared"


class AttentionFilter(admin.SimpleListFilter):
    """What an operator should look at first."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the choices."""
        del request, model_admin
        return [("failed", "Failed"), ("failing", "Failing, tries again"), ("slow", "Takes long"), ("any", "Any of it")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Assignment]) -> QuerySet[Assignment]:
        """Choose the rows."""
        del request
        old = clock.now() - timedelta(seconds=LONG_SECONDS)
        choices = {
            "failed": Q(status=AssignmentStatus.ERROR),
            "failing": Q(attempts__gt=0),
            "slow": ~Q(status__in=_SETTLED) & Q(status_since__lt=old),
        }
        choices["any"] = choices["failed"] | choices["failing"] | choices["slow"]
        chosen = choices.get(self.value() or "")
        return queryset.filter(chosen) if chosen is not None else queryset


@admin.register(Assignment)
class AssignmentAdmin(ReadOnlyAdmin[Assignment]):
    """Assignments: what is stuck and why; retry and disable."""

    list_display = ("app", "team", "cluster", "shown_status", "wish", "lasts", "waits", "attempts", "addresses")
    list_filter = (AttentionFilter, "status", "wish", "cluster")
    search_fields = ("app__name", "app__team__name", "gateways__public_address", "gateways__server_id", "=id")
    list_select_related = ("app__team", "cluster")
    shown_first: ClassVar[tuple[str, ...]] = ("waits", "addresses")
    inlines = (EventInline,)
    actions = ("retry", "disable")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Assignment]:
        """Bring the gateways along."""
        queryset: QuerySet[Assignment] = super().get_queryset(request).prefetch_related("gateways")
        return queryset

    @display(description="Team", ordering="app__team__name")
    def team(self, assignment: Assignment) -> str:
        """Name the customer."""
        return assignment.app.team.name

    @display(description="Status", ordering="status", label=COLOURS)
    def shown_status(self, assignment: Assignment) -> str:
        """Show the status in its colour."""
        return assignment.status

    @display(description="For", ordering="status_since")
    def lasts(self, assignment: Assignment) -> str:
        """Say how long it has had this status."""
        return timesince(assignment.status_since, clock.now(), depth=1)

    @display(description="Waits for")
    def waits(self, assignment: Assignment) -> str:
        """Say what holds it up."""
        return waits_for(assignment) or "-"

    @display(description="Addresses")
    def addresses(self, assignment: Assignment) -> str:
        """Show the addresses that aren't gone."""
        gateways = [gateway for gateway in assignment.gateways.all() if gateway.deleted_at is None]
        return ", ".join(gateway.public_address for gateway in gateways if gateway.public_address) or "-"

    @action(description="Retry what failed", permissions=["change"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Assignment]) -> None:
        """Retry."""
        actor = _operator(request)
        each(self, request, queryset, lambda row: services.egress_retry(app=row.app, actor=actor), "is tried again")

    @action(description="Disable (addresses are lost)", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Assignment]) -> HttpResponse | None:
        """Disable, once it is confirmed."""
        question = "Disable dedicated egress of these apps? Their addresses are lost."
        ask = confirmed(self, request, queryset, action="disable", question=question)
        if ask is None:
            actor = _operator(request)
            each(self, request, queryset, lambda row: services.egress_disable(app=row.app, actor=actor), "is disabled")
        return ask


@admin.register(Gateway)
class GatewayAdmin(ReadOnlyAdmin[Gateway]):
    """Gateways: found by address, server or app."""

    list_display = ("__str__", "shown_status", "shown_health", "public_address", "server_id", "reported_at", "detail")
    list_filter = ("provisioning_status", "health", "assignment__cluster")
    search_fields = ("assignment__app__name", "=public_address", "=private_address", "=server_id", "=id")
    list_select_related = ("assignment__app",)
    inlines = (EventInline,)

    @display(description="Status", ordering="provisioning_status", label=COLOURS)
    def shown_status(self, gateway: Gateway) -> str:
        """Show what we did, in its colour."""
        return gateway.provisioning_status

    @display(description="Health", ordering="health", label=COLOURS)
    def shown_health(self, gateway: Gateway) -> str:
        """Show what we observe, in its colour."""
        return gateway.health


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin[Node]):
    """Nodes: which lag and which are sick; removal."""

    list_display = ("name", "cluster", "shown_status", "shown_health", "behind", "dataplane", "reported_at", "detail")
    list_filter = ("status", "health", "dataplane", "cluster")
    search_fields = ("name", "=private_address")
    list_select_related = ("cluster",)
    inlines = (EventInline,)
    actions = ("remove",)

    @display(description="Status", ordering="status", label=COLOURS)
    def shown_status(self, node: Node) -> str:
        """Show what we want, in its colour."""
        return node.status

    @display(description="Health", ordering="health", label=COLOURS)
    def shown_health(self, node: Node) -> str:
        """Show what we observe, in its colour."""
        return node.health

    @display(description="Routes")
    def behind(self, node: Node) -> str:
        """Say how many changes it has yet to apply."""
        if node.applied_epoch != str(node.cluster.epoch):
            return "none yet"
        missing = node.cluster.revision - node.applied_revision
        return f"{missing} behind" if missing > 0 else "up to date"

    @action(description="Remove from the cluster (only once it is empty or fenced)", permissions=["change"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Node]) -> HttpResponse | None:
        """Remove, once it is confirmed."""
        question = "Remove these nodes? Containers with dedicated egress that still run there lose their way out."
        ask = confirmed(self, request, queryset, action="remove", question=question)
        if ask is None:
            actor = _operator(request)
            each(self, request, queryset, lambda node: services.node_remove(node=node, actor=actor), "is removed")
        return ask


@admin.register(RouteChange)
class RouteChangeAdmin(ReadOnlyAdmin[RouteChange]):
    """What nodes were told last of each namespace."""

    list_display = ("namespace", "cluster", "revision", "told", "changed_at")
    list_filter = ("cluster",)
    search_fields = ("namespace",)
    list_select_related = ("cluster",)

    @display(description="Route")
    def told(self, change: RouteChange) -> str:
        """Show the pair and its state."""
        return f"pair {change.route['pair']}, {change.route['state']}" if change.route else "removed"


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin[Event]):
    """History, newest first."""

    list_display = ("at", "subject", "app", "gateway", "node", "old", "new", "reason", "actor")
    list_filter = ("kind", "subject", "cluster")
    search_fields = ("app__name", "node__name", "reason")
    list_select_related = ("app", "gateway__assignment__app", "node", "actor")
    date_hierarchy = "at"


def _operator(request: HttpRequest) -> Any:
    # The admin's own login made sure that it is a User.
    return request.user
