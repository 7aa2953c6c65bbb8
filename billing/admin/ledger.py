"""The operators' pages of the ledger and of metering: to look at. Corrections come from events, never from hands."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from typing import Any, ClassVar

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RelatedDropdownFilter
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from billing.metering.concerns import meter_concerns
from billing.models import Meter, Recheck, TrafficRecord, UsageRecord
from egress.control.admin.base import AttentionFilter, ReadOnlyAdmin

from .filters import HourFilter

GIB = 2**30


class LedgerAdmin(ReadOnlyAdmin[Any]):
    """Rows of a ledger, newest hour first. There are millions: they aren't counted, and are found by filters alone."""

    list_filter = (
        HourFilter,
        ("assignment__app__team", AutocompleteSelectFilter),
        ("assignment__app", AutocompleteSelectFilter),
        ("assignment__cluster", RelatedDropdownFilter),
    )
    list_filter_submit = True
    list_select_related = ("assignment__app__team", "assignment__cluster")
    # The unique index' columns, backwards.
    ordering = ("-hour", "-assignment", "-slot", "-sequence")
    sortable_by = ()
    paginator = InfinitePaginator
    show_facets = admin.ShowFacets.NEVER
    shown_first: ClassVar[tuple[str, ...]] = ("hour", "app", "team", "cluster", "gateway", "sequence")
    hidden: ClassVar[tuple[str, ...]] = ("id", "slot")

    @display(description="App")
    def app(self, row: Any) -> str:
        """Name the app."""
        return str(row.assignment.app)

    @display(description="Team")
    def team(self, row: Any) -> str:
        """Name the customer."""
        return str(row.assignment.app.team)

    @display(description="Cluster")
    def cluster(self, row: Any) -> str:
        """Name the cluster."""
        return str(row.assignment.cluster)

    @display(description="Gateway")
    def gateway(self, row: Any) -> str:
        """Return "A" or "B"."""
        return "AB"[row.slot]


@admin.register(UsageRecord)
class UsageRecordAdmin(LedgerAdmin):
    """Seconds, hour by hour."""

    list_display = ("hour", "app", "team", "cluster", "gateway", "sequence", "seconds", "outage_seconds", "reason")


@admin.register(TrafficRecord)
class TrafficRecordAdmin(LedgerAdmin):
    """Bytes, hour by hour."""

    list_display = ("hour", "app", "team", "cluster", "gateway", "sequence", "sent_bytes", "gib", "reason")

    @display(description="GiB")
    def gib(self, row: TrafficRecord) -> str:
        """Write it in the unit of prices."""
        return f"{row.sent_bytes / GIB:,.3f}"


class MeterAttention(AttentionFilter):
    """Metering that is behind."""

    concerns = staticmethod(meter_concerns)


@admin.register(Meter)
class MeterAdmin(ReadOnlyAdmin[Meter]):
    """How far metering got: there is one row."""

    list_display = ("__str__", "closed_until", "version", "marked_at")
    list_filter = (MeterAttention,)


@admin.register(Recheck)
class RecheckAdmin(ReadOnlyAdmin[Recheck]):
    """Closed hours that are looked at again, because something became known late."""

    list_display = ("assignment", "since", "reason", "due_at")
    list_select_related = ("assignment__app",)
    search_fields = ("assignment__app__name",)
