"""Billing's pages: each parses, calls one service or selector, and renders."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from billing.guards.limits import limits_change
from billing.overview import usage as usages
from billing.overview.statements import lines_of, months_of, statements_of
from egress.control import clock
from egress.control.models import App
from portal.accounts.models import Membership

from . import billing_data
from .billing_forms import DetailsForm, LimitsForm
from .billing_guards import of_team, owners
from .billing_page import day_named, entries, frame, month_named, neighbours
from .billing_page import overview as overview_page
from .guards import PageRequest, logged_in

APPS_PER_PAGE = 50
STATEMENTS_PER_PAGE = 24
LINES_PER_PAGE = 100
MOVEMENTS_SHOWN = 50
FORM = ["GET", "HEAD", "POST"]
#: Pages below a tab of another name.
_UNDER = {"usage": "overview", "statement": "statements", "leaving": "payment"}


@require_safe
@logged_in
def teams(request: PageRequest) -> HttpResponseBase:
    """Lead to the billing of the user's team; let choose where there are several."""
    memberships = list(request.user.memberships.select_related("team").order_by("team__name"))
    if len(memberships) == 1:
        return redirect("web:billing-overview", memberships[0].team.slug)
    return render(request, "web/billing/teams.html", {"section": "billing", "memberships": memberships})


@require_safe
@of_team
def overview(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """Show the present month: what it came to, where it leads, and which apps and days it is made of."""
    page = overview_page(membership.team, clock.now())
    apps = Paginator(page.month.apps, APPS_PER_PAGE).get_page(request.GET.get("page"))
    return _render(request, membership, "overview", page=page, month=page.month, apps=apps)


@require_safe
@of_team
def usage(request: PageRequest, membership: Membership, app_id: UUID) -> HttpResponseBase:
    """Show an app's month: its days, the hours of one of them, and the events that it rests on."""
    app = get_object_or_404(App, pk=app_id, team=membership.team)
    now = clock.now()
    begin, end = month_named(request.GET.get("month", ""), now)
    day = day_named(request.GET.get("day", ""), begin, end)
    before, after = neighbours(begin, end, now)
    return _render(
        request,
        membership,
        "usage",
        app=app,
        month=begin.date(),
        before=before,
        after=after,
        bill=usages.bill_of(app, begin.date()),
        days=usages.days_of(app, begin, end),
        day=day,
        hours=usages.hours_of(app, day) if day else [],
        entries=entries(app, begin, end),
        billed_before=usages.billed_at(app, begin),
    )


@require_safe
@of_team
def statements(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """List the finished months, each with its invoice."""
    page = Paginator(statements_of(membership.team), STATEMENTS_PER_PAGE).get_page(request.GET.get("page"))
    return _render(request, membership, "statements", page=page)


@require_safe
@of_team
def statement(request: PageRequest, membership: Membership, statement_id: UUID) -> HttpResponseBase:
    """Show a finished month, line by line."""
    row = get_object_or_404(statements_of(membership.team), pk=statement_id)
    page = Paginator(lines_of(row), LINES_PER_PAGE).get_page(request.GET.get("page"))
    movements = row.invoice.movements.all()[:MOVEMENTS_SHOWN] if hasattr(row, "invoice") else []
    return _render(request, membership, "statement", statement=row, page=page, movements=movements)


@require_http_methods(FORM)
@of_team
def limits(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """Show budget and spend limit; on POST an owner changes them."""
    if request.method == "POST":
        return _change_limits(request, membership)
    account = billing_data.account_of(membership.team)
    return _render(request, membership, "limits", form=LimitsForm.of(account))


@owners
def _change_limits(request: PageRequest, membership: Membership) -> HttpResponseBase:
    form = LimitsForm.of(billing_data.account_of(membership.team), request.POST)
    if not form.is_valid():
        return _render(request, membership, "limits", form=form)
    limits_change(team=membership.team, **form.cents())
    messages.success(request, "Saved.")
    return redirect("web:billing-limits", membership.team.slug)


@require_http_methods(FORM)
@of_team
def details(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """Show whom invoices are addressed to; on POST an owner changes it, and Stripe learns it."""
    if request.method == "POST":
        return _change_details(request, membership)
    form = DetailsForm.of(billing_data.account_of(membership.team))
    return _render(request, membership, "details", form=form)


@owners
def _change_details(request: PageRequest, membership: Membership) -> HttpResponseBase:
    form = DetailsForm.of(billing_data.account_of(membership.team), request.POST)
    if form.is_valid():
        refusal = billing_data.change_details(membership.team, **form.fields_of_account())
        if not refusal:
            messages.success(request, "Saved. The next invoice has it.")
            return redirect("web:billing-details", membership.team.slug)
        form.add_error(None, refusal)
    return _render(request, membership, "details", form=form)


@require_http_methods(FORM)
@of_team
def payment(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """Show how the team pays; on POST lead an owner to Stripe's page for cards, or to its customer portal."""
    if request.method == "POST":
        return _to_stripe(request, membership)
    if request.GET.get("back") == "stripe":
        billing_data.refresh_method(membership.team, request.GET.get("session", ""))
        return redirect("web:billing-payment", membership.team.slug)
    return _render(request, membership, "payment")


@owners
def _to_stripe(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """Show a page that goes on to Stripe by itself: the policy of our pages lets no form lead elsewhere."""
    back = request.build_absolute_uri(reverse("web:billing-payment", args=[membership.team.slug]))
    url = billing_data.stripe_page(membership.team, request.POST.get("to", ""), back)
    return _render(request, membership, "leaving", url=url)


@require_safe
@of_team
def exports(request: PageRequest, membership: Membership) -> HttpResponseBase:
    """Offer a month's usage and charges as a file."""
    months = months_of(membership.team, clock.now())
    return _render(request, membership, "exports", months=months, this_month=clock.now().date().replace(day=1))


def _render(request: PageRequest, membership: Membership, name: str, **context: object) -> HttpResponseBase:
    shared = {"section": "billing", "frame": frame(membership, f"web:billing-{_UNDER.get(name, name)}")}
    return render(request, f"web/billing/{name}.html", {**shared, **context})
