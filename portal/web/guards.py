"""Who may open a page: one line above each view."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils.cache import patch_cache_control
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from egress.control.errors import AdmissionRefused, AppUnknown, EgressError
from egress.control.models import App
from egress.control.selectors import app_for
from egress.control.services import may_switch
from portal.accounts.models import User

from .refusals import shown


class PageRequest(HttpRequest):
    """A request of somebody who is logged in."""

    user: User
    htmx: HtmxDetails


type_of_view = Callable[Concatenate[PageRequest, ...], HttpResponseBase]


def logged_in(view: type_of_view) -> Callable[..., HttpResponseBase]:
    """Send others to the log-in page; a fragment's request sends the whole page there, not the fragment.

    What the view answers is stored nowhere: no proxy and no browser shows it to whoever comes after.
    """

    @wraps(view)
    def guarded(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user: User | AnonymousUser = request.user
        if user.is_authenticated:
            response = view(request, *args, **kwargs)
            patch_cache_control(response, private=True, no_store=True)
            return response
        if request.htmx:
            return HttpResponseClientRedirect(resolve_url(settings.LOGIN_URL))
        return redirect_to_login(request.get_full_path())

    return guarded


def of_app(view: type_of_view) -> Callable[..., HttpResponseBase]:
    """Hand the view one of the user's apps; another team's is not found. An egress error becomes its own page."""

    @wraps(view)
    @logged_in
    def guarded(request: PageRequest, app_id: UUID) -> HttpResponseBase:
        try:
            app = app_for(request.user, app_id)
        except AppUnknown as error:
            raise Http404 from error
        try:
            return view(request, app)
        except AdmissionRefused as refusal:
            context = {"app": app, "refusal": shown(refusal, app)}
            return render(request, "web/refused.html", context, status=refusal.http_status)
        except EgressError as error:
            context = {"app": app, "message": str(error)}
            return render(request, f"{error.http_status}.html", context, status=error.http_status)

    return guarded


def may_change(view: type_of_view) -> Callable[..., HttpResponseBase]:
    """Refuse viewers."""

    @wraps(view)
    def guarded(request: PageRequest, app: App) -> HttpResponseBase:
        if not may_switch(app=app, actor=request.user):
            raise PermissionDenied
        return view(request, app)

    return guarded
