"""The operators' pages of prices, terms and credits: what is in force stays as it was, what follows is set with why."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelectWidget

from billing import words
from billing.models import Credit, Price, StatementLine, Terms
from billing.rating import services
from billing.rating.money import CENTS
from egress.control import clock
from egress.control.admin.base import ReadOnlyAdmin, operator
from egress.control.models import Cluster

from .asking import ReasonForm, amount, ask, currency, moment, row_at, row_of, whole

#: As many digits as the columns hold.
PRICE_DIGITS, PERCENT_DIGITS, AMOUNT_DIGITS = 14, 5, 12
MOST_HOURS, MOST_GIB, MOST_SLOT_HOURS = 744, 1_000_000, 100_000_000
STATE_COLOURS = {"in force": "success", "to come": "info", "over": "primary"}
#: "At once" must still be to come when the service looks.
_SOON = timedelta(seconds=2)
_STARTS_HELP = "Empty: at once. What was in force is never changed afterwards."
_ENDS_HELP = "Empty: until something follows."


class PriceForm(ReasonForm):
    """A price from some time on."""

    cluster = forms.ModelChoiceField(
        Cluster.objects.order_by("name"),
        required=False,
        empty_label="All clusters that have no price of their own",
        widget=UnfoldAdminSelectWidget,
    )
    currency = currency(settings.BILLING_CURRENCY)
    per_slot_hour = amount("Price of a gateway's hour", "An app has two gateways.", decimals=8, max_digits=PRICE_DIGITS)
    cap_hours = whole("Hours charged a month at most", "Of each gateway.", settings.BILLING_CAP_HOURS, MOST_HOURS)
    per_gib = amount(
        "Price of a GiB of traffic", "Beyond what is included.", decimals=8, max_digits=PRICE_DIGITS, initial=0
    )
    included_gib = whole("GiB included", "Of each gateway's month.", 0, MOST_GIB)
    starts_at = moment("Starts", _STARTS_HELP)
    ends_at = moment("Ends", _ENDS_HELP)
    field_order = (
        "cluster", "currency", "per_slot_hour", "cap_hours", "per_gib", "included_gib", "starts_at", "ends_at",
    )  # fmt: skip


class EndForm(ReasonForm):
    """When a price ends."""

    at = moment("Ends", "From then on that of all clusters holds, or none.", required=True)
    field_order = ("at",)


class TermsForm(ReasonForm):
    """What is agreed with a team."""

    team = row_of(Terms, "team")
    discount_percent = amount(
        "Discount, %",
        "Off all that its month comes to.",
        decimals=2,
        max_digits=PERCENT_DIGITS,
        max_value=100,
        initial=0,
    )
    free_slot_hours = whole("Free hours a month", "Of gateways: an app uses two at a time.", 0, MOST_SLOT_HOURS)
    starts_at = moment("Starts", "Empty: at once. Not before the end of the last month that was stated.")
    ends_at = moment("Ends", _ENDS_HELP)
    field_order = ("team", "discount_percent", "free_slot_hours", "starts_at", "ends_at")


class CreditForm(ReasonForm):
    """Money for a team."""

    team = row_of(Credit, "team")
    amount = amount(
        "Amount", "Its next statements draw from it.", decimals=2, max_digits=AMOUNT_DIGITS, min_value=Decimal("0.01")
    )
    currency = currency(settings.BILLING_CURRENCY)
    expires_at = moment("Expires", "Empty: never. It pays for the months that begin before.")
    field_order = ("team", "amount", "currency", "expires_at")


class AskedAdmin(ReadOnlyAdmin[Any]):
    """A page of rows that are added by a form of its own; who may change may add."""

    form_to_add: type[forms.Form]
    add_title: str
    add_about: str

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say whether this person may add one: it takes the permission to change."""
        return bool(self.has_operate_permission(request, obj))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Ask for what is to be chosen, and hand it to the service."""
        del form_url, extra_context
        if not self.has_add_permission(request):
            raise PermissionDenied
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        return ask(
            self,
            request,
            self.form_to_add(request.POST or None),
            title=self.add_title,
            about=self.add_about,
            button="Save",
            service=lambda **typed: self.add(actor=operator(request), **typed),
            done="It is set.",
            back=reverse(name),
        )

    def add(self, **typed: Any) -> object:
        """Call the service."""
        raise NotImplementedError


@admin.register(Price)
class PriceAdmin(AskedAdmin):
    """Prices with their history; set, ended and withdrawn with a reason."""

    list_display = ("where", "amount", "cap_hours", "traffic", "state", "starts_at", "ends_at", "reason")
    list_filter = ("currency", ("cluster", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("cluster", "created_by")
    search_fields = ("reason", "cluster__name")
    ordering = ("-starts_at", "-id")
    shown_first: ClassVar[tuple[str, ...]] = ("where", "state", "amount")
    hidden: ClassVar[tuple[str, ...]] = (*ReadOnlyAdmin.hidden, "cluster", "per_slot_hour")
    actions_detail = ("end_this", "withdraw_this")
    form_to_add = PriceForm
    add_title = "Set a price"
    add_about = (
        "It takes the rest of the period of the price that is in force at its start, or a free period. A cluster's own"
        " price counts before that of all clusters."
    )

    @display(description="Where", ordering="cluster__name")
    def where(self, price: Price) -> str:
        """Name the cluster."""
        return price.cluster.name if price.cluster else "all clusters"

    @display(description="A gateway's hour", ordering="per_slot_hour")
    def amount(self, price: Price) -> str:
        """Write it without zeros at its end."""
        return f"{_plain(price.per_slot_hour)} {price.currency}"

    @display(description="Traffic")
    def traffic(self, price: Price) -> str:
        """Say what a GiB costs, beyond how many."""
        return f"{_plain(price.per_gib)} a GiB beyond {price.included_gib}" if price.per_gib else "free"

    @display(description="State", label=STATE_COLOURS)
    def state(self, price: Price) -> str:
        """Say whether it holds now."""
        return _state(price)

    def add(self, **typed: Any) -> object:
        """Set it."""
        return services.price_set(**_at_once(typed))

    @action(description="End", permissions=["operate"], url_path="end")
    def end_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask when and why, and end it."""
        price, own = row_at(self, request, object_id)
        return ask(
            self,
            request,
            EndForm(request.POST or None),
            title="End this price",
            about=f"{self.where(price)}: {price}",
            button="End it",
            service=lambda **typed: services.price_end(price=price, actor=operator(request), **typed),
            done="It has its end.",
            back=own,
        )

    @action(description="Withdraw", permissions=["operate"], url_path="withdraw", variant=ActionVariant.DANGER)
    def withdraw_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, and take it back."""
        price, own = row_at(self, request, object_id)
        return ask(
            self,
            request,
            ReasonForm(request.POST or None),
            title="Withdraw this price",
            about=f"{self.where(price)}: {price}. It must not have begun; the one before goes on in its place.",
            button="Withdraw it",
            service=lambda **typed: services.price_withdraw(price=price, actor=operator(request), **typed),
            done=f"Withdrawn: {price}",
            back=own,
            then=reverse("admin:billing_price_changelist"),
        )


@admin.register(Terms)
class TermsAdmin(AskedAdmin):
    """What was agreed with teams."""

    list_display = ("team", "discount", "free_slot_hours", "state", "starts_at", "ends_at", "reason", "created_by")
    list_filter = (("team", AutocompleteSelectFilter),)
    list_filter_submit = True
    list_select_related = ("team", "created_by")
    search_fields = ("team__name", "reason")
    ordering = ("-starts_at", "-id")
    shown_first: ClassVar[tuple[str, ...]] = ("team", "state", "discount")
    hidden: ClassVar[tuple[str, ...]] = (*ReadOnlyAdmin.hidden, "discount_percent")
    form_to_add = TermsForm
    add_title = "Agree on terms"
    add_about = "What was agreed before ends where this begins. To take a discount back, agree on 0 %."

    @display(description="Discount", ordering="discount_percent")
    def discount(self, terms: Terms) -> str:
        """Write it without zeros at its end."""
        return f"{_plain(terms.discount_percent)} %"

    @display(description="State", label=STATE_COLOURS)
    def state(self, terms: Terms) -> str:
        """Say whether they hold now."""
        return _state(terms)

    def add(self, **typed: Any) -> object:
        """Agree on them."""
        return services.terms_set(**_at_once(typed))


@admin.register(Credit)
class CreditAdmin(AskedAdmin):
    """Credits: granted with a reason, never changed."""

    list_display = ("team", "granted", "left", "reason", "granted_at", "granted_by", "expires_at")
    list_filter = (("team", AutocompleteSelectFilter), "currency")
    list_filter_submit = True
    list_select_related = ("team", "granted_by")
    search_fields = ("team__name", "reason")
    ordering = ("-granted_at", "-id")
    shown_first: ClassVar[tuple[str, ...]] = ("team", "granted", "left")
    hidden: ClassVar[tuple[str, ...]] = (*ReadOnlyAdmin.hidden, "cents", "currency")
    form_to_add = CreditForm
    add_title = "Grant a credit"
    add_about = "A credit is never changed once granted."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credit]:
        """Add up what was drawn from each."""
        drawn = StatementLine.objects.filter(credit=OuterRef("pk"), cents__lt=0).order_by().values("credit")
        sums = Subquery(drawn.annotate(sum=Sum("cents")).values("sum"), output_field=BigIntegerField())
        queryset: QuerySet[Credit] = super().get_queryset(request)
        return queryset.annotate(drawn=Coalesce(sums, 0))

    @display(description="Granted", ordering="cents")
    def granted(self, credit: Credit) -> str:
        """Write the amount."""
        return words.money(credit.cents, credit.currency)

    @display(description="Left")
    def left(self, credit: Any) -> str:
        """Say what its team has in hand of it, were it not for its expiry."""
        return words.money(credit.cents + credit.drawn, credit.currency)

    def add(self, **typed: Any) -> object:
        """Grant it."""
        cents = int(typed.pop("amount") * CENTS)
        return services.credit_grant(cents=cents, **typed)


def _at_once(typed: dict[str, Any]) -> dict[str, Any]:
    """Fill in the start that was left empty."""
    return {**typed, "starts_at": typed["starts_at"] or clock.now() + _SOON}


def _state(row: Price | Terms) -> str:
    now: datetime = clock.now()
    if row.starts_at > now:
        return "to come"
    return "in force" if row.ends_at is None or row.ends_at > now else "over"


def _plain(number: Decimal) -> str:
    """Write a number without zeros at its end, and without an exponent."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
