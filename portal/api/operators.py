"""The operators' part of the API: gateways of all teams are drained and mended, and rollouts started and watched."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.decorators import api_view, permission_classes
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from egress.control.maintenance import gateway_drain, gateway_maintain, gateway_undrain
from egress.control.models import Cluster, Gateway, GatewayStatus, Health
from egress.control.models_rollouts import MAX_BATCH, ItemState, Maintenance, Rollout, RolloutKind, RolloutStatus
from egress.control.rollout_progress import progress_of
from egress.control.rollouts import rollout_abort, rollout_pause, rollout_resume, rollout_start

from .authentication import token_of
from .paging import Pages
from .parsers import SmallJsonParser
from .permissions import Operates, WritesWithLeave
from .schema import described
from .serializers import ErrorSerializer, KnownKeysSerializer

REFUSALS = {
    401: OpenApiResponse(ErrorSerializer, "The token is missing or isn't valid."),
    403: OpenApiResponse(ErrorSerializer, "The token isn't an operator's, or may only read."),
    404: OpenApiResponse(ErrorSerializer, "There is no such thing."),
    429: OpenApiResponse(ErrorSerializer, "Too many requests with this token."),
}
CONFLICT = {409: OpenApiResponse(ErrorSerializer, "It can't be done now; `message` says why and what to do.")}
_ALLOWED = [IsAuthenticated, Operates, WritesWithLeave]
GATEWAY_ID = OpenApiParameter("gateway_id", UUID, OpenApiParameter.PATH)
ROLLOUT_ID = OpenApiParameter("rollout_id", int, OpenApiParameter.PATH)

GATEWAY_VERBS: dict[str, Callable[..., Gateway]] = {
    "drain": gateway_drain,
    "undrain": gateway_undrain,
    **{
        kind.value: partial(gateway_maintain, kind=kind)
        for kind in (Maintenance.REBOOT, Maintenance.POWER_CYCLE, Maintenance.REBUILD)
    },
}
ROLLOUT_VERBS: dict[str, Callable[..., Rollout]] = {
    "pause": rollout_pause,
    "resume": rollout_resume,
    "abort": rollout_abort,
}


class OperatedGatewaySerializer(serializers.Serializer[Any]):
    """A gateway, as operators see it. `maintenance` is what it drains for, or is in maintenance for."""

    id = serializers.UUIDField()
    app = serializers.UUIDField(source="assignment.app_id")
    slot = serializers.IntegerField(min_value=0, max_value=1)
    status = serializers.ChoiceField(source="provisioning_status", choices=GatewayStatus.choices)
    health = serializers.ChoiceField(choices=Health.choices)
    maintenance = serializers.ChoiceField(choices=Maintenance.choices, allow_blank=True)
    public_address = serializers.IPAddressField(allow_null=True)


class RolloutStartSerializer(KnownKeysSerializer):
    """What to roll over which cluster."""

    cluster = serializers.SlugRelatedField(slug_field="name", queryset=Cluster.objects.all())
    kind = serializers.ChoiceField(choices=RolloutKind.choices, default=RolloutKind.REBUILD.value)
    image = serializers.CharField(max_length=100, allow_blank=True, default="")
    batch = serializers.IntegerField(min_value=1, max_value=MAX_BATCH, default=1)
    max_failures = serializers.IntegerField(min_value=1, max_value=MAX_BATCH, default=1)


class RolloutLineSerializer(serializers.Serializer[Any]):
    """One gateway of a rollout; `says` is what it does, what it waits for, or why it failed or was skipped."""

    gateway = serializers.UUIDField(source="item.gateway_id")
    state = serializers.ChoiceField(choices=ItemState.choices)
    says = serializers.CharField(allow_blank=True)


class RolloutSerializer(serializers.Serializer[Any]):
    """A rollout. `reason` says why it stopped or was refused."""

    id = serializers.IntegerField(source="pk")
    cluster = serializers.CharField(source="cluster.name")
    kind = serializers.ChoiceField(choices=RolloutKind.choices)
    image = serializers.CharField(allow_blank=True)
    batch = serializers.IntegerField()
    max_failures = serializers.IntegerField()
    status = serializers.ChoiceField(choices=RolloutStatus.choices)
    reason = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class RolloutProgressSerializer(RolloutSerializer):
    """A rollout with how far it got: counts by state, and its gateways, at most 200, those under way first."""

    counts = serializers.DictField(child=serializers.IntegerField())
    gateways = RolloutLineSerializer(many=True)


@described(
    operation_id="operator_gateway",
    parameters=[GATEWAY_ID],
    responses={200: OperatedGatewaySerializer, **REFUSALS},
)
@api_view(["GET"])
@permission_classes(_ALLOWED)
def gateway(request: Request, gateway_id: str) -> Response:  # noqa: ARG001  # Django's signature
    """Return one gateway."""
    return Response(OperatedGatewaySerializer(_gateway(gateway_id)).data)


@described(
    operation_id="operator_gateway_act",
    description="Drain a gateway, take it back (`undrain`), or drain it for something and bring it back.",
    parameters=[GATEWAY_ID, OpenApiParameter("verb", str, OpenApiParameter.PATH, enum=list(GATEWAY_VERBS))],
    request=None,
    responses={200: OperatedGatewaySerializer, **REFUSALS, **CONFLICT},
)
@api_view(["POST"])
@permission_classes(_ALLOWED)
def gateway_act(request: Request, gateway_id: str, verb: str) -> Response:
    """Do something to one gateway."""
    row = GATEWAY_VERBS[verb](gateway=_gateway(gateway_id), actor=token_of(request).created_by)
    return Response(OperatedGatewaySerializer(row).data)


class RolloutList(GenericAPIView[Rollout]):
    """All rollouts."""

    permission_classes = _ALLOWED
    parser_classes = (SmallJsonParser,)
    pagination_class = Pages
    filter_backends = ()

    @described(operation_id="operator_rollouts_list", responses={200: RolloutSerializer(many=True), **REFUSALS})
    def get(self, request: Request) -> Response:  # noqa: ARG002  # the framework's signature
        """List rollouts, the latest first."""
        rows = self.paginate_queryset(Rollout.objects.select_related("cluster"))
        return self.get_paginated_response(RolloutSerializer(rows or [], many=True).data)

    @described(
        operation_id="operator_rollouts_start",
        request=RolloutStartSerializer,
        responses={
            201: RolloutSerializer,
            400: OpenApiResponse(ErrorSerializer, "The body isn't a rollout that can be."),
            **REFUSALS,
            **CONFLICT,
        },
    )
    def post(self, request: Request) -> Response:
        """Start a rollout over a cluster."""
        wanted = RolloutStartSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        rollout = rollout_start(actor=token_of(request).created_by, **wanted.validated_data)
        return Response(RolloutSerializer(rollout).data, 201)


@described(
    operation_id="operator_rollout",
    parameters=[ROLLOUT_ID],
    responses={200: RolloutProgressSerializer, **REFUSALS},
)
@api_view(["GET"])
@permission_classes(_ALLOWED)
def rollout(request: Request, rollout_id: str) -> Response:  # noqa: ARG001  # Django's signature
    """Return one rollout and how far it got."""
    return _progress(_rollout(rollout_id))


@described(
    operation_id="operator_rollout_act",
    description="Pause a rollout, resume it where it was paused or stopped, or abort it.",
    parameters=[ROLLOUT_ID, OpenApiParameter("verb", str, OpenApiParameter.PATH, enum=list(ROLLOUT_VERBS))],
    request=None,
    responses={200: RolloutProgressSerializer, **REFUSALS, **CONFLICT},
)
@api_view(["POST"])
@permission_classes(_ALLOWED)
def rollout_act(request: Request, rollout_id: str, verb: str) -> Response:
    """Pause, resume or abort."""
    return _progress(ROLLOUT_VERBS[verb](rollout=_rollout(rollout_id), actor=token_of(request).created_by))


def _progress(row: Rollout) -> Response:
    progress = progress_of(row)
    gateways = RolloutLineSerializer(progress.lines, many=True).data
    return Response({**RolloutSerializer(row).data, "counts": progress.counts, "gateways": gateways})


def _gateway(gateway_id: str) -> Gateway:
    try:
        key = UUID(gateway_id)
    except ValueError:
        key = None
    row = Gateway.objects.select_related("assignment__app").filter(pk=key).first() if key else None
    if row is None:
        raise NotFound("There is no such gateway.")
    return row


def _rollout(rollout_id: str) -> Rollout:
    row = Rollout.objects.select_related("cluster").filter(pk=int(rollout_id)).first()
    if row is None:
        raise NotFound("There is no such rollout.")
    return row
