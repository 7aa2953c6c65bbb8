"""The operators' pages of nodes and of what nodes were told."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable, Iterable
from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from egress.control import services
from egress.control.attention import node_concerns
from egress.control.models import Gateway, GatewayStatus, Node, RouteChange

from .base import COLOURS, AttentionFilter, EventInline, ReadOnlyAdmin, confirmed, each, on_row, operator

#: Lines of a list inside a page.
LINES_SHOWN = 100


class NodeAttention(AttentionFilter):
    """Nodes to look at."""

    concerns = staticmethod(node_concerns)


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin[Node]):
    """Nodes: which lag and which are sick; removal."""

    list_display = ("name", "cluster", "shown_status", "shown_health", "behind", "dataplane", "reported_at", "detail")
    list_filter = (NodeAttention, "status", "health", "dataplane", "cluster")
    search_fields = ("name", "=private_address")
    list_select_related = ("cluster",)
    shown_first: ClassVar[tuple[str, ...]] = ("name", "cluster", "status", "health", "behind", "in_use", "running")
    hidden = (*ReadOnlyAdmin.hidden, "containers", "in_doubt", "flows", "gateways")
    inlines = (EventInline,)
    actions = ("remove",)
    actions_detail = ("remove_this",)

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

    @display(description="Gateways in use")
    def in_use(self, node: Node) -> str:
        """Say what the node's probes and connections tell of each gateway."""
        gateways = Gateway.objects.filter(assignment__cluster=node.cluster_id).select_related("assignment__app")
        names = {
            str(gateway.pk): str(gateway) for gateway in gateways.exclude(provisioning_status=GatewayStatus.DELETED)
        }
        told = {names.get(key, f"gone ({key[:8]}…)"): key for key in {**node.gateways, **node.flows}}
        return _lines(
            f"{name}: {node.gateways.get(key, 'not probed')}, {node.flows.get(key, 0)} connections"
            for name, key in sorted(told.items())
        )

    @display(description="Containers")
    def running(self, node: Node) -> str:
        """Count the containers of each namespace, and those whose packets may go past all rules."""

        def told(namespace: str, count: int) -> str:
            doubtful = node.in_doubt.get(namespace, 0)
            since = f", {doubtful} of them from when the network was unsupported: restart them" if doubtful else ""
            return f"{namespace}: {count}{since}"

        return _lines(told(namespace, count) for namespace, count in sorted(node.containers.items()))

    @action(description="Remove from the cluster", permissions=["operate"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Node]) -> HttpResponse | None:
        """Remove, once it is confirmed."""
        ask = confirmed(self, request, queryset, action="remove", question=_REMOVE)
        if ask is None:
            each(self, request, queryset, _remove(request), "is removed")
        return ask

    @action(description="Remove", permissions=["operate"], url_path="remove", variant=ActionVariant.DANGER)
    def remove_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Remove, from its own page."""
        return on_row(self, request, object_id, question=_REMOVE, service=_remove(request), done="is removed")


_REMOVE = (
    "Remove from the cluster? Only a node that is empty or fenced: containers with dedicated egress that still run"
    " there lose their way out. An agent that still runs joins again within a minute: stop it first, or, if the node"
    " isn't yours any more, give the cluster a new join token first."
)


def _remove(request: HttpRequest) -> Callable[[Node], object]:
    return lambda node: services.node_remove(node=node, actor=operator(request))


@admin.register(RouteChange)
class RouteChangeAdmin(ReadOnlyAdmin[RouteChange]):
    """What nodes were told last of each namespace."""

    list_display = ("namespace", "cluster", "revision", "told", "changed_at")
    list_filter = ("cluster",)
    search_fields = ("namespace",)
    list_select_related = ("cluster",)
    shown_first: ClassVar[tuple[str, ...]] = ("namespace", "cluster", "revision", "told", "over")
    hidden = (*ReadOnlyAdmin.hidden, "route")

    @display(description="Route")
    def told(self, change: RouteChange) -> str:
        """Show the pair and its state."""
        return f"pair {change.route['pair']}, {change.route['state']}" if change.route else "removed"

    @display(description="Gateways")
    def over(self, change: RouteChange) -> str:
        """Show the pair's gateways as nodes see them."""
        gateways = change.route["gateways"] if change.route else ()
        return _lines(
            f"{'AB'[gateway['slot']]} {gateway['state']}: {gateway['private_address']} → {gateway['public_address']}"
            for gateway in gateways
        )


def _lines(lines: Iterable[str]) -> str:
    """Put each of the first `LINES_SHOWN` on a line of its own."""
    every = list(lines)
    more = [f"and {len(every) - LINES_SHOWN} more"] if len(every) > LINES_SHOWN else []
    return "\n".join([*every[:LINES_SHOWN], *more]) or "-"
