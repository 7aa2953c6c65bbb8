"""What somebody can do about a policy that refuses: where to go next."""

from dataclasses import dataclass

from django.urls import reverse

from billing.guards.errors import InvoicesUnpaid, PaymentMethodNeeded, QuotaReached, SpendLimitReached
from egress.control.errors import AdmissionRefused
from egress.control.models import App
from egress.control.selectors import Actor
from egress.control.services import enable_refusal

#: {code: (page of the team's billing, what its link says)}
_NEXT = {
    InvoicesUnpaid.code: ("web:billing-overview", "Go to billing"),
    PaymentMethodNeeded.code: ("web:billing-payment", "Go to payment"),
    SpendLimitReached.code: ("web:billing-limits", "Go to the spend limit"),
    QuotaReached.code: ("web:billing-overview", "Go to billing"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A refusal in words, and the link that helps; "" where none does."""

    message: str
    url: str = ""
    label: str = ""


def shown(refusal: AdmissionRefused, app: App) -> Shown:
    """Return a refusal as a page shows it."""
    page, label = _NEXT.get(refusal.code, ("", ""))
    url = reverse(page, args=[app.team.slug]) if page else ""
    return Shown(message=str(refusal), url=url, label=label)


def against_enabling(app: App, actor: Actor) -> Shown | None:
    """Return what a policy has against enabling, before anybody asks for it; None: nothing."""
    refusal = enable_refusal(app=app, actor=actor)
    return shown(refusal, app) if refusal else None
