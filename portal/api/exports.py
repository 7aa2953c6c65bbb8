"""Exports of usage and charges: a team's by its token, all teams' by an operator's."""

from collections.abc import Iterable

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, OpenApiTypes
from rest_framework.decorators import api_view, content_negotiation_class, permission_classes
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from billing.exports.errors import TeamUnknown
from billing.exports.response import download
from billing.exports.selection import Format, Grain
from portal.accounts.models import Team

from .authentication import token_of
from .permissions import Operates
from .schema import described
from .serializers import ErrorSerializer


class AnyAccept(BaseContentNegotiation):
    """Errors come as JSON, whatever is accepted; and `format` names the export's format, not the error's."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Return the first one: nothing is read."""
        del request
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the only one."""
        del request, format_suffix
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""


_MONTH = OpenApiParameter("month", OpenApiTypes.STR, required=True, description="YYYY-MM, the present month or before.")
_PARAMETERS = [
    _MONTH,
    OpenApiParameter("format", OpenApiTypes.STR, enum=[form.value for form in Format], default=Format.CSV.value),
    OpenApiParameter("grain", OpenApiTypes.STR, enum=[grain.value for grain in Grain], default=Grain.DAY.value),
    OpenApiParameter("cluster", OpenApiTypes.STR, description="Only what belongs to this cluster."),
]
_ANSWERS = {
    (200, "text/csv"): OpenApiTypes.BINARY,
    (200, "application/x-ndjson"): OpenApiTypes.BINARY,
    400: OpenApiResponse(ErrorSerializer, "The month, the format or the grain isn't one, or the month hasn't begun."),
    401: OpenApiResponse(ErrorSerializer, "The token is missing or isn't valid."),
    404: OpenApiResponse(ErrorSerializer, "There is no such team or cluster."),
    429: OpenApiResponse(ErrorSerializer, "Too many requests with this token."),
}


@described(
    operation_id="billing_export",
    description="Download a month of the token's team: final once it has a statement, until then an estimate.",
    parameters=_PARAMETERS,
    responses=_ANSWERS,
)
@api_view(["GET"])
@content_negotiation_class(AnyAccept)
def export(request: Request) -> HttpResponseBase:
    """Send a month of the token's team."""
    return download(request.query_params.dict(), team=token_of(request).team)


@described(
    operation_id="operator_billing_export",
    description="Download a month of all teams, or of the one that `team` names.",
    parameters=[*_PARAMETERS, OpenApiParameter("team", OpenApiTypes.STR, description="Its slug.")],
    responses={**_ANSWERS, 403: OpenApiResponse(ErrorSerializer, "The token isn't an operator's.")},
)
@api_view(["GET"])
@content_negotiation_class(AnyAccept)
@permission_classes([IsAuthenticated, Operates])
def operator_export(request: Request) -> HttpResponseBase:
    """Send a month of all teams, or of one."""
    query = request.query_params.dict()
    return download(query, team=_team(query["team"]) if query.get("team") else None)


def _team(slug: str) -> Team:
    team = None if "\0" in slug else Team.objects.filter(slug=slug).first()
    if team is None:
        raise TeamUnknown("There is no such team; check its slug.")
    return team
