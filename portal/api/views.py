"""Version 1 of the REST API: each view parses, calls one service or selector, and answers."""

from contextlib import suppress
from typing import NoReturn
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.decorators import api_view, parser_classes, permission_classes
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from egress.control.errors import NothingToRetry, TransitionConflict
from egress.control.models import App, AssignmentStatus, EgressType
from egress.control.models_told import OnOutage
from egress.control.overview import egress_overviews
from egress.control.selectors import Actor, app_for, apps_of, egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry, outage_choose

from .authentication import token_of
from .paging import Pages
from .parsers import SmallJsonParser
from .permissions import WritesWithLeave
from .schema import described
from .serializers import AppSerializer, EgressChangeSerializer, EgressSerializer, ErrorSerializer

REFUSALS = {
    401: OpenApiResponse(ErrorSerializer, "The token is missing or isn't valid."),
    404: OpenApiResponse(ErrorSerializer, "The token's team has no such app."),
    429: OpenApiResponse(ErrorSerializer, "Too many requests with this token."),
}
APP_ID = OpenApiParameter("app_id", UUID, OpenApiParameter.PATH)


class AppList(GenericAPIView[App]):
    """The token's team's apps."""

    pagination_class = Pages
    filter_backends = ()

    @described(operation_id="apps_list", responses={200: AppSerializer(many=True), **REFUSALS})
    def get(self, request: Request) -> Response:
        """List the apps of the token's team, by name."""
        apps = self.paginate_queryset(apps_of(token_of(request)).order_by("name", "pk"))
        return self.get_paginated_response(AppSerializer(egress_overviews(apps or []), many=True).data)


@described(operation_id="apps_retrieve", parameters=[APP_ID], responses={200: AppSerializer, **REFUSALS})
@api_view(["GET"])
def app(request: Request, app_id: str) -> Response:
    """Return one app."""
    return Response(AppSerializer(egress_view(app_for(token_of(request), app_id))).data)


@described(
    methods=["GET"],
    operation_id="apps_egress_retrieve",
    description="Return an app's egress.",
    parameters=[APP_ID],
    responses={200: EgressSerializer, **REFUSALS},
)
@described(
    methods=["PUT"],
    operation_id="apps_egress_update",
    description=(
        "Wish for another type of egress. Repeating a wish changes nothing; only where `state` is `error`, "
        "wishing for DEDICATED_IP again tries once more what failed. `on_outage` stays as it is where it is left out."
    ),
    parameters=[APP_ID],
    request=EgressChangeSerializer,
    responses={
        200: EgressSerializer,
        400: OpenApiResponse(ErrorSerializer, "The body isn't JSON, or isn't a wish: `type`, and `on_outage` or not."),
        403: OpenApiResponse(ErrorSerializer, "The token may only read, or the platform refuses."),
        409: OpenApiResponse(ErrorSerializer, "An earlier dedicated egress of this app is still being disabled."),
        413: OpenApiResponse(ErrorSerializer, "The body is far larger than a wish."),
        415: OpenApiResponse(ErrorSerializer, "The body isn't sent as application/json."),
        **REFUSALS,
    },
)
@api_view(["GET", "PUT"])
@parser_classes([SmallJsonParser])
@permission_classes([IsAuthenticated, WritesWithLeave])
def egress(request: Request, app_id: str) -> Response:
    """Return an app's egress, or wish for another type."""
    app = app_for(token_of(request), app_id)
    if request.method == "PUT":
        change = EgressChangeSerializer(data=request.data)
        change.is_valid(raise_exception=True)
        _carry_out(change.validated_data, app=app, actor=token_of(request))
    return Response(EgressSerializer(egress_view(app)).data)


@transaction.atomic
def _carry_out(wish: dict[str, str], *, app: App, actor: Actor) -> None:
    """Write all of the wish, or nothing where a part is refused."""
    if "on_outage" in wish:
        outage_choose(app=app, actor=actor, on_outage=OnOutage(wish["on_outage"]))
    switch = _enable_or_retry if wish["type"] == EgressType.DEDICATED_IP else egress_disable
    switch(app=app, actor=actor)


def _enable_or_retry(*, app: App, actor: Actor) -> None:
    """Enable, and try again what failed: a program has no button for that, it repeats its wish."""
    if egress_enable(app=app, actor=actor).status == AssignmentStatus.ERROR:
        # Another request may have started it, or given it up, in the same instant; the answer shows what is.
        with suppress(NothingToRetry, TransitionConflict):
            egress_retry(app=app, actor=actor)


@described(exclude=True)
@api_view(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@permission_classes([])
def nothing(request: Request) -> NoReturn:
    """Answer addresses that don't exist in the API's own shape."""
    raise NotFound(f"There is no {request.path} here; docs/openapi.yaml lists what there is.")
