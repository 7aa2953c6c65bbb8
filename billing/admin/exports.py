"""Exports of chosen statements, and what became of those to the folder."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from unfold.decorators import action

from billing.exports.bills import bill_of
from billing.exports.concerns import export_concerns
from billing.exports.errors import ExportBusy
from billing.exports.response import OPERATORS, ExportResponse
from billing.exports.selection import Format, Grain
from billing.exports.stream import FORMATS, write_bills
from billing.models import MonthExport, Statement
from egress.control.admin.base import AttentionFilter, ReadOnlyAdmin


def _export(
    request: HttpRequest, statements: QuerySet[Statement], form: Format, grain: Grain
) -> HttpResponseBase | None:
    """Send them; None, which shows the list again, while there is no room."""
    # Keys only: there may be many, and each statement is read when its turn has come.
    keys = list(statements.order_by("month", "team_id", "currency").values_list("pk", flat=True))
    bills = (bill_of(Statement.objects.select_related("team").get(pk=key)) for key in keys)
    name = f"{FORMATS[form].name}-statements-{grain.value}.{FORMATS[form].suffix}"
    try:
        return ExportResponse(write_bills(bills, form, grain), form, name, whose=OPERATORS)
    except ExportBusy as error:
        messages.error(request, str(error))
        return None


class ExportsStatements:
    """A page of statements that can be exported."""

    actions = ("export_csv", "export_jsonl", "export_focus", "export_focus_hourly")

    @action(description="Export as CSV, by day")
    def export_csv(self, request: HttpRequest, statements: QuerySet[Statement]) -> HttpResponseBase | None:
        """Send the statements as CSV."""
        return _export(request, statements, Format.CSV, Grain.DAY)

    @action(description="Export as JSON Lines, by day")
    def export_jsonl(self, request: HttpRequest, statements: QuerySet[Statement]) -> HttpResponseBase | None:
        """Send the statements as JSON Lines."""
        return _export(request, statements, Format.JSONL, Grain.DAY)

    @action(description="Export as FOCUS 1.2, by day")
    def export_focus(self, request: HttpRequest, statements: QuerySet[Statement]) -> HttpResponseBase | None:
        """Send the statements as FOCUS."""
        return _export(request, statements, Format.FOCUS, Grain.DAY)

    @action(description="Export as FOCUS 1.2, by hour")
    def export_focus_hourly(self, request: HttpRequest, statements: QuerySet[Statement]) -> HttpResponseBase | None:
        """Send the statements as FOCUS with a row for each hour."""
        return _export(request, statements, Format.FOCUS, Grain.HOUR)


class ExportAttention(AttentionFilter):
    """Months that couldn't be written."""

    concerns = staticmethod(export_concerns)


@admin.register(MonthExport)
class MonthExportAdmin(ReadOnlyAdmin[MonthExport]):
    """Months that were written to the export folder, and what keeps others from it."""

    list_display = ("month", "at", "problem")
    list_filter = (ExportAttention,)
