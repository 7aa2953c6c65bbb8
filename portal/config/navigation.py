"""The operators' sidebar: every page of the admin, by what one has in mind when looking for it."""

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

#: A group's title, and its models in order.
GROUPS: dict[str, tuple[str, ...]] = {
    "Fleet": (
        "control.Cluster",
        "control.Node",
        "control.Assignment",
        "control.Gateway",
        "control.Rollout",
        "control.ClusterRepair",
        "control.RouteChange",
        "control.StrayServer",
        "control.Installation",
        "control.Event",
    ),
    "Customers": ("control.App", "accounts.Team", "accounts.User", "accounts.ApiToken", "auth.Group"),
    "Prices": ("billing.Price", "billing.Terms", "billing.Credit"),
    "Usage": ("billing.UsageRecord", "billing.TrafficRecord", "billing.Meter", "billing.Recheck"),
    "Months": (
        "billing.Statement",
        "billing.StatementLine",
        "billing.MonthClose",
        "billing.StatementProblem",
        "billing.MonthExport",
    ),
    "Money": (
        "billing.Refusal",
        "billing.Invoice",
        "billing.Movement",
        "billing.Dunning",
        "billing.BillingAccount",
        "billing.Notice",
        "billing.WebhookEvent",
    ),
}
#: Pages that aren't of one model: a group's title, their titles and the names of their addresses.
MORE = {"Months": (("Revenue by month", "admin:billing_revenue"), ("Margin of apps", "admin:billing_margin"))}


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups as django-unfold wants them, with what this person may see."""
    found: list[dict[str, Any]] = [{"items": [{"title": "What needs a look", "link": reverse("admin:index")}]}]
    more = {reverse(name) for pages in MORE.values() for _, name in pages}
    for title, labels in GROUPS.items():
        pages = [admin.site.get_model_admin(apps.get_model(label)) for label in labels]
        items = [_item(*_named(page), request, more) for page in pages if page.has_view_permission(request)]
        # They show what the group's first page does.
        if items and pages[0].has_view_permission(request):
            items += [_item(words, reverse(name), request) for words, name in MORE.get(title, ())]
        found.append({"title": title, "separator": True, "items": items})
    return found


def _named(page: Any) -> tuple[str, str]:
    opts = page.opts
    name = str(opts.verbose_name_plural)
    return name[:1].upper() + name[1:], reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")


def _item(title: str, link: str, request: HttpRequest, others: Collection[str] = ()) -> dict[str, Any]:
    """Return a page, lit up on its own addresses and those below, but for `others`, which have a place of their own."""
    active = request.path.startswith(link) and request.path not in others
    return {"title": title, "link": link, "active": active}
