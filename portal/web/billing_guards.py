"""Who may open a page of billing: everybody in the team reads, owners change."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseBase
from django.shortcuts import render

from egress.control.errors import EgressError
from portal.accounts.models import Membership, Role

from .guards import PageRequest, logged_in, type_of_view


def of_team(view: type_of_view) -> Callable[..., HttpResponseBase]:
    """Hand the view the user's membership of the team that the address names; another team is not found.

    What can't be done becomes a page of its own.
    """

    @wraps(view)
    @logged_in
    def guarded(request: PageRequest, team: str, **kwargs: Any) -> HttpResponseBase:
        rows = Membership.objects.filter(user=request.user, team__slug=team).select_related("team__billing_account")
        membership = rows.first()
        if membership is None:
            raise Http404
        try:
            return view(request, membership, **kwargs)
        except EgressError as error:
            context = {
                "section": "billing",
                "team": membership.team,
                "message": str(error),
                "status": error.http_status,
            }
            return render(request, "web/billing/refused.html", context, status=error.http_status)

    return guarded


def is_owner(membership: Membership) -> bool:
    """Say whether somebody may change how the team pays."""
    return membership.role == Role.OWNER


def owners(view: type_of_view) -> Callable[..., HttpResponseBase]:
    """Refuse all but the team's owners."""

    @wraps(view)
    def guarded(request: PageRequest, membership: Membership, **kwargs: Any) -> HttpResponseBase:
        if not is_owner(membership):
            raise PermissionDenied("Only owners of a team change how it pays and what it may cost. Ask one of them.")
        return view(request, membership, **kwargs)

    return guarded
