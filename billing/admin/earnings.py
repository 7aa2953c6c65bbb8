"""The operators' pages of revenue by month and of the margin of apps."""

# unfold brings no types: its classes are Any.
# mypy: disable-error-code="misc"

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from billing import words
from billing.earnings.margin import AppMargin, margin_of
from billing.earnings.revenue import MonthRevenue, revenue, stated_months
from billing.models import MonthClose, StatementLine
from egress.control.models import App, Cluster

from .filters import month_named

MONTHS_SHOWN = 36
APPS_SHOWN = 50
NOTHING = "-"


class ShowsEarnings:
    """A page of statements that has these two beside it, for who may look at statements."""

    def get_urls(self: Any) -> list[URLPattern]:
        """Name them before the rows' own pages."""
        own = [
            path("revenue/", self.admin_site.admin_view(self.revenue_view), name="billing_revenue"),
            path("margin/", self.admin_site.admin_view(self.margin_view), name="billing_margin"),
        ]
        return [*own, *super().get_urls()]

    def revenue_view(self: Any, request: HttpRequest) -> HttpResponse:
        """Show what finished months came to."""
        _require(self, request)
        months = stated_months(MONTHS_SHOWN)
        rows = [_revenue_row(row) for row in revenue(months[-1])] if months else []
        kinds = [kind.label for kind in StatementLine.Kind]
        return _page(self, request, "revenue", title="Revenue by month", rows=rows, kinds=kinds)

    def margin_view(self: Any, request: HttpRequest) -> HttpResponse:
        """Show what apps came to in one month beside what their servers cost."""
        _require(self, request)
        months, clusters = stated_months(MONTHS_SHOWN), Cluster.objects.order_by("name")
        month = month_named(request.GET.get("in_month", "")) or (months[0] if months else None)
        cluster = clusters.filter(pk=_number(request.GET.get("cluster", ""))).first()
        found = margin_of(month, cluster.pk if cluster else None) if month in months else None
        shown = Paginator(found.apps if found else (), APPS_SHOWN).get_page(request.GET.get("page"))
        names = App.objects.select_related("team", "cluster").in_bulk([app.app_id for app in shown])
        close = MonthClose.objects.filter(month=month).first()
        return _page(
            self,
            request,
            "margin",
            title="Margin of apps (an estimate)",
            months=months,
            month=month,
            clusters=clusters,
            cluster=cluster,
            rows=[_margin_row(app, names) for app in shown],
            total=_figures(found.charged, found) if found else {},
            shown=shown,
            closed=close is None or close.closed_at is not None,
            currency=settings.BILLING_COST_CURRENCY,
        )


def _require(page: Any, request: HttpRequest) -> None:
    if not page.has_view_permission(request):
        raise PermissionDenied


def _page(page: Any, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
    context |= page.admin_site.each_context(request) | {"title": context["title"]}
    return TemplateResponse(request, f"billing/admin/{name}.html", context)


def _revenue_row(row: MonthRevenue) -> dict[str, Any]:
    def write(cents: int) -> str:
        return words.money(cents, row.currency) if cents else NOTHING

    return {
        "month": row.month,
        "statements": row.statements,
        "kinds": [write(row.kinds.get(kind, 0)) for kind in StatementLine.Kind.values],
        "stated": words.money(row.stated, row.currency),
        "others": [
            write(cents)
            for cents in (row.tax, row.paid, row.unpaid, row.given_up, row.credited, row.refunded, row.disputed)
        ],
    }


def _margin_row(app: AppMargin, names: Mapping[UUID, App]) -> dict[str, Any]:
    return {"app": names[app.app_id], **_figures(app.charged, app)}


def _figures(charged: Mapping[str, int], of: Any) -> dict[str, str | bool]:
    """Write what was charged, what it cost, and what is left of an app, or of all."""
    currency = settings.BILLING_COST_CURRENCY
    cost = words.money(of.cost.cents, currency)
    if of.cost.unpriced:
        cost = f"no price of {', '.join(sorted(of.cost.unpriced))}"
    return {
        "charged": ", ".join(words.money(cents, code) for code, cents in charged.items()) or NOTHING,
        "hours": words.hours(of.cost.seconds),
        "cost": cost,
        "left": NOTHING if of.cents is None else words.money(of.cents, currency),
        "share": _share(of.cents, charged.get(currency, 0)),
        "loss": of.cents is not None and of.cents < 0,
    }


def _share(left: int | None, charged: int) -> str:
    """Write how much of what was charged is left, in percent."""
    return NOTHING if left is None or not charged else f"{round(left * 100 / charged)} %"


def _number(text: str) -> int:
    """Read a row's number; 0, which no row has, for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(2**63)) else 0
