"""The page's download of usage and charges."""

from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from billing.exports.errors import ExportBusy, TeamUnknown
from billing.exports.response import download
from egress.control.errors import EgressError
from portal.accounts.models import Team, User

from .guards import PageRequest, logged_in


@require_GET
@logged_in
def export(request: PageRequest) -> HttpResponseBase:
    """Send a month of one of the user's teams, which has to be named where there are several."""
    try:
        return download(request.GET.dict(), team=_team(request.user, request.GET.get("team", "")))
    except EgressError as error:
        answer = render(request, f"{error.http_status}.html", {"message": str(error)}, status=error.http_status)
        if isinstance(error, ExportBusy):
            answer.headers["Retry-After"] = str(error.retry_after_seconds)
        return answer


def _team(user: User, slug: str) -> Team:
    """Return the team that is named, or the only one. Raises TeamUnknown, also for a team of others."""
    teams = Team.objects.filter(members=user).order_by("slug")
    found = list((teams.filter(slug=slug) if slug else teams)[:2]) if "\0" not in slug else []
    if len(found) != 1:
        raise TeamUnknown
    return found[0]
