"""The operators' page of repair: in which clusters it stands still, and the word that it goes on."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable
from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action

from egress.control.attention import repair_concerns
from egress.control.models_repair import ClusterRepair
from egress.control.repair import circuit

from .base import AttentionFilter, ReadOnlyAdmin, on_row, operator


class RepairAttention(AttentionFilter):
    """Where repair stands still."""

    concerns = staticmethod(repair_concerns)


@admin.register(ClusterRepair)
class ClusterRepairAdmin(ReadOnlyAdmin[ClusterRepair]):
    """Repair by cluster: whether it goes on, and why not."""

    list_display = ("cluster", "stopped_at", "reason", "allowed_until")
    list_filter = (RepairAttention,)
    list_select_related = ("cluster",)
    shown_first: ClassVar[tuple[str, ...]] = ("cluster", "stopped_at", "reason", "allowed_until")
    actions_detail = ("go_on",)

    @action(description="Go on for an hour", permissions=["operate"], url_path="go-on")
    def go_on(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it go on."""
        return on_row(self, request, object_id, question=_GO_ON, service=_allow(request), done="goes on for an hour")


_GO_ON = (
    "Repair gateways of this cluster for an hour, however many are bad? Make sure first that they are: each may be"
    " power cycled, rebuilt and at last replaced, which costs its customer an address."
)


def _allow(request: HttpRequest) -> Callable[[ClusterRepair], object]:
    return lambda row: circuit.go_on(row=row, actor=operator(request))
