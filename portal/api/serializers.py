"""What the API takes and gives."""

import json
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from egress.control.condition import State, facts_of
from egress.control.models import AssignmentStatus, EgressType
from egress.control.models_told import OnOutage
from egress.control.overview import EgressOverview
from egress.control.selectors import EgressView

#: Active, but not as it should be: a condition says what is the matter.
DEGRADED = "degraded"
#: How far a dedicated egress got; an app without one is "off".
STATES = ["off", DEGRADED, *(status.value for status in AssignmentStatus if status != AssignmentStatus.RELEASED)]

#: How many unknown keys an error names, and how much of each.
NAMES_TOLD, NAME_LENGTH = 5, 40
_TYPES = " or ".join(json.dumps(kind.value) for kind in EgressType)
_CHOICES = " or ".join(json.dumps(choice.value) for choice in OnOutage)
WANTED = f"Send one object with `type`, {_TYPES}, and, if you like, `on_outage`, {_CHOICES}."

CONDITION_TYPES = ["Available", "Redundant", "Covered"]
CONDITION_STATUSES = ["True", "False", "Unknown"]
IP_STATUSES = ["ASSIGNING", "ASSIGNED", "REMOVED"]


class DedicatedIpSerializer(serializers.Serializer[Any]):
    """One of the app's two addresses."""

    id = serializers.UUIDField()
    ip = serializers.IPAddressField(
        allow_null=True, help_text="null until it is known; may still change until `status` is ASSIGNED."
    )
    status = serializers.ChoiceField(choices=IP_STATUSES)


class ProblemSerializer(serializers.Serializer[Any]):
    """What holds a dedicated egress up, in words for people, and a code for programs."""

    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")


class ConditionSerializer(serializers.Serializer[Any]):
    """One thing that is so or not of an active pair, and why."""

    type = serializers.ChoiceField(
        choices=CONDITION_TYPES,
        help_text="`Available`: new connections leave from the app's own addresses. `Redundant`: either gateway can do "
        "without the other. `Covered`: it is so on every node; there only where it isn't.",
    )
    status = serializers.ChoiceField(choices=CONDITION_STATUSES)
    reason = serializers.CharField(help_text="One word for programs, such as GatewayDown or Maintenance.")
    message = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True, help_text="null where it isn't known yet.")


class EgressSerializer(serializers.Serializer[Any]):
    """An app's egress: what is wished for (`type`), and how far it got (`state`).

    `degraded` is active, but a gateway or both can't be used, or containers on some nodes use shared addresses because
    the network there isn't supported: `conditions` says which. Planned maintenance of one gateway is no degradation.
    While the platform is being put right, `error` has the code `stands_still` for what is under way: a wish is noted
    then, and carried out later; traffic goes on as it is.
    """

    type = serializers.ChoiceField(choices=EgressType.choices)
    dedicated_ips = DedicatedIpSerializer(many=True, source="ips")
    state = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    conditions = serializers.SerializerMethodField(help_text="Of an active pair; empty otherwise.")
    on_outage = serializers.ChoiceField(
        choices=OnOutage.choices,
        source="app.on_outage",
        help_text="What becomes of new connections while neither gateway can be used: `reject` blocks them, `shared` "
        "lets them leave from shared addresses, so that your firewall would see others. Kept while egress is off.",
    )
    simulated = serializers.SerializerMethodField(help_text="true where no packets are steered, as in some demos.")

    @extend_schema_field(serializers.ChoiceField(choices=STATES))  # type: ignore[untyped-decorator]  # its types are skipped
    def get_state(self, view: EgressView | EgressOverview) -> str:
        """Return the status; `off` without an assignment."""
        ill = view.condition is not None and view.condition.state not in {State.WHOLE, State.MAINTENANCE}
        if view.status == AssignmentStatus.ACTIVE and (ill or view.uncovered_nodes):
            return DEGRADED
        return view.status or "off"

    @extend_schema_field(ConditionSerializer(many=True))  # type: ignore[untyped-decorator]  # its types are skipped
    def get_conditions(self, view: EgressView | EgressOverview) -> Any:
        """Return what is so of an active pair, and what isn't."""
        if view.condition is None:
            return []
        facts = facts_of(view.condition, view.uncovered_nodes)
        # What is so though the pair isn't whole may have been so before.
        known = [view.condition.state == State.WHOLE or fact.status != "True" for fact in facts]
        since = [view.condition_since if each else None for each in known]
        rows = [{**asdict(fact), "since": at} for fact, at in zip(facts, since, strict=True)]
        return ConditionSerializer(rows, many=True).data

    def get_simulated(self, _view: EgressView | EgressOverview) -> bool:
        """Say whether agents only record here what they would do."""
        return bool(settings.SIMULATED)

    @extend_schema_field(ProblemSerializer(allow_null=True))  # type: ignore[untyped-decorator]  # its types are skipped
    def get_error(self, view: EgressView | EgressOverview) -> Any:
        """Return the problem; None where there is none. Of a hold it says where to pay."""
        if not view.error_code:
            return None
        problem = ProblemSerializer(view).data
        if view.hold:
            problem["message"] += f" {settings.PORTAL_URL}{reverse('web:billing-overview', args=[view.app.team.slug])}"
        return problem


class KnownKeysSerializer(serializers.Serializer[Any]):
    """A body that holds nothing but what is known here; `wanted` says what that is."""

    wanted = ""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Refuse what isn't known, too: a wish that is misspelt must not look granted."""
        if not isinstance(data, dict):
            raise serializers.ValidationError({"body": [f"The body isn't an object. {self.wanted}"]})
        unknown = sorted(data.keys() - self.fields.keys())
        if unknown:
            # As JSON writes them, and not all of them: they are anybody's text.
            names = ", ".join(json.dumps(key[:NAME_LENGTH]) for key in unknown[:NAMES_TOLD])
            raise serializers.ValidationError(
                {"body": [f"The body holds what isn't known here: {names}. {self.wanted}"]}
            )
        return super().run_validation(data)


class EgressChangeSerializer(KnownKeysSerializer):
    """The wish."""

    wanted = WANTED

    type = serializers.ChoiceField(
        choices=EgressType.choices,
        error_messages={
            "required": f"`type` is missing. {WANTED}",
            "null": f"`type` is null. {WANTED}",
            "invalid_choice": f"`type` isn't one that there is. {WANTED}",
        },
    )
    on_outage = serializers.ChoiceField(
        choices=OnOutage.choices,
        required=False,
        help_text="Left out: stays as it is.",
        error_messages={
            "null": f"`on_outage` is null. {WANTED}",
            "invalid_choice": f"`on_outage` isn't one that there is. {WANTED}",
        },
    )


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
