"""The operators' pages of months: their closing, what keeps statements from being made, statements with their lines."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from billing import words
from billing.models import MonthClose, Statement, StatementLine, StatementProblem
from billing.statements.concerns import close_concerns, problem_concerns
from billing.statements.trace import Trace, trace
from egress.control.admin.base import AttentionFilter, ReadOnlyAdmin, RowsInline, link

from .earnings import ShowsEarnings
from .exports import ExportsStatements
from .filters import MonthFilter

LINES_SHOWN = 50


class CloseAttention(AttentionFilter):
    """Months that aren't closed in time."""

    concerns = staticmethod(close_concerns)


class ProblemAttention(AttentionFilter):
    """Statements that can't be made."""

    concerns = staticmethod(problem_concerns)


@admin.register(MonthClose)
class MonthCloseAdmin(ReadOnlyAdmin[MonthClose]):
    """The closing of months: it begins by itself when a month's hold is over."""

    list_display = ("shown_month", "began_at", "looked_at", "closed_at", "statements", "problems")
    list_filter = (CloseAttention,)
    shown_first: ClassVar[tuple[str, ...]] = ("month", "statements", "problems")

    def get_queryset(self, request: HttpRequest) -> QuerySet[MonthClose]:
        """Count along."""
        open_ones = StatementProblem.objects.filter(resolved_at=None)
        queryset: QuerySet[MonthClose] = super().get_queryset(request)
        return queryset.annotate(made=_count(Statement.objects.all()), kept=_count(open_ones))

    @display(description="Month", ordering="month")
    def shown_month(self, close: MonthClose) -> str:
        """Write it without its day."""
        return f"{close.month:%Y-%m}"

    @display(description="Statements made")
    def statements(self, close: Any) -> int:
        """Count them."""
        return int(close.made)

    @display(description="Statements that can't be made")
    def problems(self, close: Any) -> int:
        """Count them."""
        return int(close.kept)


@admin.register(StatementProblem)
class StatementProblemAdmin(ReadOnlyAdmin[StatementProblem]):
    """Why a team's statement can't be made. It is tried again every minute; others don't wait for it."""

    list_display = ("team", "month", "code", "message", "noticed_at", "last_at", "resolved_at")
    list_filter = (ProblemAttention, MonthFilter, "code")
    list_filter_submit = True
    list_select_related = ("team",)
    search_fields = ("team__name", "code", "message")


class LineInline(RowsInline):
    """What a statement says, line by line."""

    model = StatementLine
    fields = readonly_fields = ("what", "kind", "app", "gateway", "amount")
    per_page = LINES_SHOWN
    verbose_name_plural = "Lines"
    ordering = ("position",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StatementLine]:
        """Bring along what is named."""
        queryset: QuerySet[StatementLine] = super().get_queryset(request)
        return queryset.select_related("app", "statement")

    @display(description="Line")
    def what(self, line: StatementLine) -> str:
        """Lead to where it comes from."""
        return link(line, line.description)

    @display(description="Gateway")
    def gateway(self, line: StatementLine) -> str:
        """Return "A", "B", or a dash."""
        return "-" if line.slot is None else "AB"[line.slot]

    @display(description="Amount")
    def amount(self, line: StatementLine) -> str:
        """Write what is charged for it."""
        return words.money(line.cents, line.statement.currency)


@admin.register(Statement)
class StatementAdmin(ShowsEarnings, ExportsStatements, ReadOnlyAdmin[Statement]):
    """Finished months, with their lines."""

    list_display = ("shown_month", "team", "total", "invoiced", "made_at")
    list_filter = (MonthFilter, ("team", AutocompleteSelectFilter), "currency")
    list_filter_submit = True
    list_select_related = ("team", "invoice")
    search_fields = ("team__name", "team__slug", "=id")
    shown_first: ClassVar[tuple[str, ...]] = ("team", "shown_month", "total", "invoiced")
    hidden: ClassVar[tuple[str, ...]] = ("month", "total_cents", "currency")
    inlines = (LineInline,)

    @display(description="Month", ordering="month")
    def shown_month(self, statement: Statement) -> str:
        """Write it without its day."""
        return f"{statement.month:%Y-%m}"

    @display(description="Total", ordering="total_cents")
    def total(self, statement: Statement) -> str:
        """Write the amount."""
        return words.money(statement.total_cents, statement.currency)

    @display(description="Invoice")
    def invoiced(self, statement: Statement) -> str:
        """Lead to the invoice, once there is one."""
        invoice = getattr(statement, "invoice", None)
        return link(invoice, f"{invoice.number or 'invoice'}: {invoice.get_status_display()}") if invoice else "-"


@admin.register(StatementLine)
class StatementLineAdmin(ReadOnlyAdmin[StatementLine]):
    """Lines, each with what it comes from: found by the id that invoices and exports have."""

    list_display = ("description", "of", "kind", "amount")
    list_filter = (
        "kind",
        ("statement__team", AutocompleteSelectFilter),
        ("app", AutocompleteSelectFilter),
    )
    list_filter_submit = True
    list_select_related = ("statement__team", "app", "assignment__app")
    search_fields = ("=id",)
    search_help_text = "A line's id, as on invoices and in exports."
    ordering = ("-statement__month", "statement", "position")
    shown_first: ClassVar[tuple[str, ...]] = ("description", "of", "amount")
    hidden: ClassVar[tuple[str, ...]] = ("statement", "cents", "description")
    change_form_outer_before_template = "billing/admin/trace.html"

    @display(description="Statement")
    def of(self, line: StatementLine) -> str:
        """Lead to the statement."""
        return link(line.statement, str(line.statement))

    @display(description="Amount", ordering="cents")
    def amount(self, line: StatementLine) -> str:
        """Write what is charged for it."""
        return words.money(line.cents, line.statement.currency)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show where the line comes from."""
        context = {**(extra_context or {}), "trace": self._trace(request, object_id)}
        answer: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        return answer

    def _trace(self, request: HttpRequest, object_id: str | None) -> Trace | None:
        line = self.get_object(request, object_id) if object_id and self.has_view_permission(request) else None
        return trace(line) if line else None


def _count(rows: QuerySet[Any]) -> Coalesce:
    """Return how many of `rows` a month has, as a query of its own: joins would multiply."""
    counted = rows.filter(month=OuterRef("month")).order_by().values("month").annotate(number=Count("pk"))
    return Coalesce(Subquery(counted.values("number")), 0)
