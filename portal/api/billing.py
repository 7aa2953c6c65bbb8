"""Billing in the API: the present month and finished ones of the token's team. Owners change things on the pages."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from billing.models import InvoiceStatus, Statement, StatementLine
from billing.overview.month import month_so_far
from billing.overview.statements import statement_of, statements_of
from egress.control import clock

from .authentication import token_of
from .paging import Pages
from .schema import described
from .serializers import ErrorSerializer

REFUSALS = {
    401: OpenApiResponse(ErrorSerializer, "The token is missing or isn't valid."),
    429: OpenApiResponse(ErrorSerializer, "Too many requests with this token."),
}
UNRATED = {409: OpenApiResponse(ErrorSerializer, "The month can't be rated now; `message` says why.")}
UNKNOWN = {404: OpenApiResponse(ErrorSerializer, "The token's team has no such statement.")}
STATEMENT_ID = OpenApiParameter("statement_id", UUID, OpenApiParameter.PATH)
#: Amounts are whole cents everywhere here.
_CENTS = "In hundredths of `currency`."


class AppCostSerializer(serializers.Serializer[Any]):
    """What one app came to this month, before what is taken off the team's month as a whole."""

    id = serializers.UUIDField(source="app_id")
    name = serializers.CharField()
    in_use = serializers.BooleanField(help_text="Whether time is counted now.")
    seconds = serializers.IntegerField(help_text="Billable ones of one gateway; the other's are the same.")
    outage_seconds = serializers.IntegerField(help_text="Taken off, since both gateways were down.")
    cost_cents = serializers.IntegerField(source="cents", help_text=_CENTS)
    cap_cents = serializers.IntegerField(help_text="What the app may come to in this month at most.")
    cap_reached = serializers.BooleanField(source="capped", help_text="The rest of the month costs nothing more.")


class DayCostSerializer(serializers.Serializer[Any]):
    """What one day's gateway hours came to, before discounts and credits."""

    day = serializers.DateField()
    cost_cents = serializers.IntegerField(source="cents", help_text=_CENTS)


class MonthSerializer(serializers.Serializer[Any]):
    """The present month, in UTC, as far as its hours are counted. Estimates: only a statement is final."""

    month = serializers.DateField(help_text="Its first day.")
    currency = serializers.CharField()
    counted_until = serializers.DateTimeField(allow_null=True, help_text="null before the first hour.")
    cost_cents = serializers.IntegerField(source="cents", help_text="So far, discounts and credits taken off.")
    forecast_cents = serializers.IntegerField(help_text="At the month's end, if what is enabled now stays so.")
    cap_cents = serializers.IntegerField(help_text="What the hours of all apps may come to in this month at most.")
    apps = AppCostSerializer(many=True, help_text="Those that cost most first.")
    days = DayCostSerializer(many=True, help_text="All days of the month.")


class StatementSerializer(serializers.Serializer[Any]):
    """A finished month. It never changes; what becomes known later is on a later one."""

    id = serializers.UUIDField()
    month = serializers.DateField(help_text="Its first day.")
    currency = serializers.CharField()
    total_cents = serializers.IntegerField(help_text="Before taxes.")
    made_at = serializers.DateTimeField()
    invoice_status = serializers.SerializerMethodField()
    invoice_number = serializers.SerializerMethodField()
    invoice_url = serializers.SerializerMethodField(help_text="Stripe's page of the invoice.")

    @extend_schema_field(serializers.ChoiceField(choices=InvoiceStatus.choices, allow_null=True))  # type: ignore[untyped-decorator]  # its types are skipped
    def get_invoice_status(self, statement: Statement) -> str | None:
        """Return how far the invoice got; None where none is made."""
        return _invoice(statement, "status") or None

    def get_invoice_number(self, statement: Statement) -> str:
        """Return Stripe's number; "" before there is one."""
        return _invoice(statement, "number")

    def get_invoice_url(self, statement: Statement) -> str:
        """Return where it is shown and paid; "" before."""
        return _invoice(statement, "hosted_url")


class StatementLineSerializer(serializers.Serializer[Any]):
    """One line. `app`, `assignment` and `slot` are null where it is about the whole team."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=StatementLine.Kind.choices)
    app = serializers.UUIDField(source="app_id", allow_null=True)
    assignment = serializers.UUIDField(source="assignment_id", allow_null=True)
    slot = serializers.IntegerField(allow_null=True, help_text="0 is gateway A, 1 is gateway B.")
    description = serializers.CharField()
    quantity = serializers.IntegerField(help_text="Whole ones of `unit`.")
    unit = serializers.CharField(allow_blank=True)
    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()
    amount_cents = serializers.IntegerField(source="cents", help_text="Rounded once, halves to the even cent.")
    detail = serializers.DictField(help_text="How it came about. For people: its keys may change.")


class StatementDetailSerializer(StatementSerializer):
    """A finished month with its lines, which add up to its total."""

    lines = StatementLineSerializer(many=True, source="lines.all")


@described(
    operation_id="billing_retrieve",
    description="Return what the present month came to so far, and where it leads.",
    responses={200: MonthSerializer, **REFUSALS, **UNRATED},
)
@api_view(["GET"])
def month(request: Request) -> Response:
    """Return the present month."""
    return Response(MonthSerializer(month_so_far(token_of(request).team, clock.now())).data)


class StatementList(GenericAPIView[Statement]):
    """The token's team's statements."""

    pagination_class = Pages
    filter_backends = ()

    @described(operation_id="billing_statements_list", responses={200: StatementSerializer(many=True), **REFUSALS})
    def get(self, request: Request) -> Response:
        """List finished months, newest first."""
        rows = self.paginate_queryset(statements_of(token_of(request).team))
        return self.get_paginated_response(StatementSerializer(rows or [], many=True).data)


@described(
    operation_id="billing_statement_retrieve",
    parameters=[STATEMENT_ID],
    responses={200: StatementDetailSerializer, **REFUSALS, **UNKNOWN},
)
@api_view(["GET"])
def statement(request: Request, statement_id: str) -> Response:
    """Return one finished month with all its lines."""
    row = statement_of(token_of(request).team, statement_id)
    if row is None:
        raise NotFound("There is no such statement among your team's; GET /api/v1/billing/statements/ lists them.")
    return Response(StatementDetailSerializer(row).data)


def _invoice(statement: Statement, name: str) -> str:
    return str(getattr(statement.invoice, name)) if hasattr(statement, "invoice") else ""
