"""What the API takes and gives."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from egress.control.models import AssignmentStatus, EgressType
from egress.control.overview import EgressOverview
from egress.control.selectors import EgressView

#: How far a dedicated egress got; an app without one is "off".
STATES = ["off", *(status.value for status in AssignmentStatus if status != AssignmentStatus.RELEASED)]

IP_STATUSES = ["ASSIGNING", "ASSIGNED", "REMOVED"]


class DedicatedIpSerializer(serializers.Serializer[Any]):
    """One of the app's two addresses."""

    id = serializers.UUIDField()
    ip = serializers.IPAddressField(allow_null=True, help_text="null until it is known.")
    status = serializers.ChoiceField(choices=IP_STATUSES)


class ProblemSerializer(serializers.Serializer[Any]):
    """What holds a dedicated egress up, in words for people, and a code for programs."""

    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")


class EgressSerializer(serializers.Serializer[Any]):
    """An app's egress: what is wished for (`type`), and how far it got (`state`)."""

    type = serializers.ChoiceField(choices=EgressType.choices)
    dedicated_ips = DedicatedIpSerializer(many=True, source="ips")
    state = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ChoiceField(choices=STATES))  # type: ignore[untyped-decorator]  # its types are skipped
    def get_state(self, view: EgressView | EgressOverview) -> str:
        """Return the status; `off` without an assignment."""
        return view.status or "off"

    @extend_schema_field(ProblemSerializer(allow_null=True))  # type: ignore[untyped-decorator]  # its types are skipped
    def get_error(self, view: EgressView | EgressOverview) -> Any:
        """Return the problem; None where there is none."""
        return ProblemSerializer(view).data if view.error_code else None


class EgressChangeSerializer(serializers.Serializer[Any]):
    """The wish."""

    type = serializers.ChoiceField(choices=EgressType.choices)


class AppSerializer(serializers.Serializer[Any]):
    """An app with its egress."""

    id = serializers.UUIDField(source="app.id")
    name = serializers.CharField(source="app.name")
    namespace = serializers.CharField(source="app.namespace")
    cluster = serializers.CharField(source="app.cluster.name")
    created_at = serializers.DateTimeField(source="app.created_at")
    egress = EgressSerializer(source="*")


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error has this shape."""

    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField()
