"""The pages: each parses, calls one service or selector, and renders."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from egress.control.models import App
from egress.control.models_told import OnOutage
from egress.control.overview import egress_overviews
from egress.control.selectors import apps_of, egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry, may_switch, outage_choose
from egress.control.told.notices import notification_seen, notifications_of

from .forms import DisableForm, OutageForm
from .guards import PageRequest, logged_in, may_change, of_app
from .news import page_of
from .page import app_page
from .pricing import current_price
from .refusals import against_enabling
from .rows import teams_of

APPS_PER_PAGE = 50
NO_CONTENT = 204


@require_safe
@logged_in
def apps(request: PageRequest) -> HttpResponse:
    """List the apps of the user's teams."""
    page = Paginator(apps_of(request.user).order_by("team__name", "name"), APPS_PER_PAGE).get_page(
        request.GET.get("page")
    )
    teams = teams_of(egress_overviews(list(page)), user=request.user)
    return render(request, "web/apps.html", {"section": "apps", "page": page, "teams": teams})


@require_safe
@of_app
def app(request: PageRequest, app: App) -> HttpResponse:
    """Show an app and its egress. A page that looks again says what it has `seen`, and gets nothing if that's all."""
    page = app_page(app, request.user)
    if request.htmx and request.GET.get("seen") == page.digest:
        return HttpResponse(status=NO_CONTENT)
    template = "web/_egress.html" if request.htmx else "web/app.html"
    context = {"section": "apps", "app": app, "page": page, "changes_wait": page.changes_wait}
    return render(request, template, context)


@require_http_methods(["GET", "HEAD", "POST"])
@of_app
@may_change
def enable(request: PageRequest, app: App) -> HttpResponse:
    """Ask for confirmation with the price beside it; on POST enable. A second click changes nothing."""
    if request.method == "POST":
        egress_enable(app=app, actor=request.user)
        return redirect("web:app", app.pk)
    if egress_view(app).status:
        messages.info(request, "Dedicated egress of this app is not off, so there is nothing to enable.")
        return redirect("web:app", app.pk)
    template = "web/_enable.html" if request.htmx else "web/enable.html"
    refusal = against_enabling(app, request.user)
    return render(request, template, {"section": "apps", "app": app, "price": current_price(app), "refusal": refusal})


@require_http_methods(["GET", "HEAD", "POST"])
@of_app
@may_change
def disable(request: PageRequest, app: App) -> HttpResponse:
    """Warn that the addresses will be lost and ask for the app's name; on POST disable."""
    form = DisableForm(request.POST or None, app=app)
    if form.is_valid():
        egress_disable(app=app, actor=request.user)
        return redirect("web:app", app.pk)
    view = egress_view(app)
    if not view.can_disable:
        messages.info(request, "Dedicated egress of this app is off or on its way out already.")
        return redirect("web:app", app.pk)
    template = "web/_disable.html" if request.htmx else "web/disable.html"
    return render(request, template, {"section": "apps", "app": app, "view": view, "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@of_app
@may_change
def retry(request: PageRequest, app: App) -> HttpResponse:
    """Try again what failed; opened as a link it only leads back."""
    if request.method == "POST":
        egress_retry(app=app, actor=request.user)
    return redirect("web:app", app.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@of_app
@may_change
def outage(request: PageRequest, app: App) -> HttpResponse:
    """Show both choices for when both gateways are down, with what follows from each; on POST choose."""
    form = OutageForm(request.POST if request.method == "POST" else None, initial={"on_outage": app.on_outage})
    if form.is_valid():
        outage_choose(app=app, actor=request.user, on_outage=OnOutage(form.cleaned_data["on_outage"]))
        return redirect("web:app", app.pk)
    template = "web/_outage_form.html" if request.htmx else "web/outage.html"
    return render(request, template, {"section": "apps", "app": app, "form": form})


@require_safe
@logged_in
def notifications(request: PageRequest) -> HttpResponse:
    """List what the user's teams were told, newest first."""
    page, entries = page_of(request.user, request.GET.get("page", ""))
    return render(request, "web/notifications.html", {"section": "notifications", "page": page, "entries": entries})


@require_POST
@logged_in
def seen(request: PageRequest, notification_id: int) -> HttpResponse:
    """Note that somebody dealt with a notification."""
    notification = get_object_or_404(notifications_of(request.user), pk=notification_id)
    if not may_switch(app=notification.app, actor=request.user):
        raise PermissionDenied
    notification_seen(notification=notification, actor=request.user)
    return redirect("web:app", notification.app_id)
