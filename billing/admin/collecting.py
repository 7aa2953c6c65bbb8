"""The operators' pages of collecting: what is stuck, invoices, what moved, Stripe's webhooks, and who is reminded."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable
from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from billing import words
from billing.collecting import concerns, mirror, refusals
from billing.models import BillingAccount, Dunning, Invoice, Movement, Notice, Refusal, WebhookEvent
from egress.control.admin.base import AttentionFilter, ReadOnlyAdmin, RowsInline, each, link, on_row, operator

from .asking import ReasonForm, ask, row_at

STATUS_COLOURS = {
    "waiting": "info",
    "draft": "info",
    "open": "warning",
    "paid": "success",
    "uncollectible": "danger",
    "void": "primary",
    "nothing": "primary",
    "credited": "success",
}


class RefusalAttention(AttentionFilter):
    """Refusals to decide about."""

    concerns = staticmethod(concerns.refusal_concerns)


class InvoiceAttention(AttentionFilter):
    """Invoices to look at."""

    concerns = staticmethod(concerns.invoice_concerns)


class MovementAttention(AttentionFilter):
    """Disputes to answer."""

    concerns = staticmethod(concerns.movement_concerns)


class EventAttention(AttentionFilter):
    """Webhooks to look at."""

    concerns = staticmethod(concerns.event_concerns)


@admin.register(Refusal)
class RefusalAdmin(ReadOnlyAdmin[Refusal]):
    """What doesn't go on without a person: tried again, or given up for a reason."""

    list_display = ("__str__", "account", "of_invoice", "message", "created_at", "decision", "decided_by")
    list_filter = (RefusalAttention, "code", "decision")
    search_fields = ("=invoice__stripe_id", "=invoice__number", "account__team__name", "code", "=request_id")
    list_select_related = ("account__team", "invoice__statement__team", "event", "decided_by")
    shown_first: ClassVar[tuple[str, ...]] = ("step", "code", "message", "request_id", "of_invoice")
    actions = ("retry",)
    actions_detail = ("retry_this", "give_up_this")

    @display(description="Invoice")
    def of_invoice(self, refusal: Refusal) -> str:
        """Lead to the invoice."""
        return link(refusal.invoice, str(refusal.invoice)) if refusal.invoice else "-"

    @action(description="Try again", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Refusal]) -> None:
        """Try them again."""
        each(self, request, queryset, _retry(request), _RETRIED)

    @action(description="Try again", permissions=["operate"], url_path="retry")
    def retry_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Try it again, from its own page."""
        return on_row(self, request, object_id, question=_RETRY, service=_retry(request), done=_RETRIED)

    @action(description="Give up", permissions=["operate"], url_path="give-up", variant=ActionVariant.DANGER)
    def give_up_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, and give it up."""
        refusal, own = row_at(self, request, object_id)
        return ask(
            self,
            request,
            ReasonForm(request.POST or None),
            title=_GIVE_UP,
            about=f"{refusal}: {refusal.message}",
            button="Give up",
            service=lambda reason: refusals.give_up(refusal=refusal, actor=operator(request), reason=reason),
            done=f"{refusal}: is given up",
            back=own,
        )


_RETRY = "Try this again? What Stripe has of it already is found and used; mend first what the message names."
_RETRIED = "is tried again within a minute"
_GIVE_UP = (
    "Give this up? An invoice that Stripe collects is marked uncollectible there, and stops being tried; a draft stays"
    " where it is and isn't collected."
)


def _retry(request: HttpRequest) -> Callable[[Refusal], object]:
    return lambda refusal: refusals.retry(refusal=refusal, actor=operator(request))


class MovementInline(RowsInline):
    """What moved for an invoice."""

    model = Movement
    fields = readonly_fields = ("kind", "cents", "currency", "status", "reason", "number", "happened_at", "stripe_id")
    verbose_name_plural = "Payments, refunds, credit notes, disputes"


class RefusalInline(RowsInline):
    """What was refused of an invoice."""

    model = Refusal
    fk_name = "invoice"
    fields = readonly_fields = ("step", "code", "message", "created_at", "decision", "decided_by", "reason")
    verbose_name_plural = "Refusals"


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin[Invoice]):
    """Invoices, as Stripe has them."""

    list_display = ("__str__", "account", "shown_status", "total", "paid", "failed_at", "attempts", "due_at")
    list_filter = (InvoiceAttention, "status", "currency")
    search_fields = ("=number", "=stripe_id", "account__team__name", "=account__stripe_customer")
    list_select_related = ("account__team", "statement__team")
    shown_first: ClassVar[tuple[str, ...]] = ("statement", "account", "shown_status", "total", "paid")
    hidden: ClassVar[tuple[str, ...]] = (*ReadOnlyAdmin.hidden, "status", "looks")
    inlines = (MovementInline, RefusalInline)
    actions = ("look",)

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def shown_status(self, invoice: Invoice) -> str:
        """Show it in its colour."""
        return invoice.status

    @display(description="Total before tax")
    def total(self, invoice: Invoice) -> str:
        """Show the statement's total."""
        return words.money(invoice.total_cents, invoice.currency)

    @display(description="Paid")
    def paid(self, invoice: Invoice) -> str:
        """Show what was paid of what is due."""
        return (
            f"{words.money(invoice.paid_cents, invoice.currency)} of {words.money(invoice.due_cents, invoice.currency)}"
        )

    @action(description="See anew at Stripe", permissions=["operate"])
    def look(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> None:
        """Ask Stripe for their present state."""
        each(self, request, queryset.exclude(stripe_id="").exclude(status="credited"), mirror.refresh, "is up to date")


@admin.register(Movement)
class MovementAdmin(ReadOnlyAdmin[Movement]):
    """Payments, refunds, credit notes and disputes, as Stripe has them."""

    list_display = ("__str__", "account", "invoice", "cents", "currency", "status", "reason", "happened_at")
    list_filter = (MovementAttention, "kind", "status")
    search_fields = ("=stripe_id", "=payment_intent", "=number", "account__team__name")
    list_select_related = ("account__team", "invoice__statement__team")


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin[WebhookEvent]):
    """What Stripe told."""

    list_display = ("__str__", "object_id", "sent_at", "received_at", "outcome", "attempts", "done_at")
    list_filter = (EventAttention, "outcome", "type")
    search_fields = ("=stripe_id", "=object_id", "type")


@admin.register(Dunning)
class DunningAdmin(ReadOnlyAdmin[Dunning]):
    """Who owes, since when, and how far it got."""

    list_display = ("__str__", "began_at", "told_date", "warned_at", "disabled_at", "held_until", "ended_at")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    list_select_related = ("account__team",)
    search_fields = ("account__team__name",)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin[Notice]):
    """What teams were told."""

    list_display = ("subject", "team", "kind", "created_at")
    list_filter = ("kind",)
    list_select_related = ("team",)
    search_fields = ("team__name", "subject")


@admin.register(BillingAccount)
class BillingAccountAdmin(ReadOnlyAdmin[BillingAccount]):
    """Who pays."""

    list_display = ("team", "currency", "payment_brand", "payment_last4", "first_paid_at", "balance_cents", "closed_at")
    list_select_related = ("team",)
    search_fields = ("team__name", "=stripe_customer", "email")
    hidden: ClassVar[tuple[str, ...]] = (*ReadOnlyAdmin.hidden, "told_digest")
