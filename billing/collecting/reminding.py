"""Do what dunning's policy says: remind, warn, disable, and end it once nothing is owed.

Level-triggered: every account that owes, or is still noted as owing, is looked at every minute. What was done is a row
or a notice under a key, so a look twice does nothing twice.
"""

import logging
from datetime import datetime
from time import monotonic
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, Min, OuterRef, QuerySet

from billing.models import BillingAccount, Dunning, Invoice, InvoiceStatus, Notice, NoticeMail, Refusal
from billing.notices import notify
from egress.control import clock, installation
from egress.control.models import App, Assignment, AssignmentStatus
from egress.control.withdrawal import egress_resume, egress_withdraw

from . import mirror
from .dunning import Disable, Facts, Nothing, Policy, Remind, Warn, next_act
from .errors import CollectingError
from .refusals import refuse

log = logging.getLogger(__name__)

BATCH: Final = 500
#: A run begins with no account after so long; the next goes on.
RUN_SECONDS: Final = 10.0


def policy() -> Policy:
    """Return what the settings say."""
    return Policy(
        reminder_days=sorted(settings.BILLING_REMINDER_DAYS),
        disables=settings.BILLING_DISABLE_UNPAID,
        grace_days=settings.BILLING_GRACE_DAYS,
        warning_days=settings.BILLING_WARNING_DAYS,
        hold_days=settings.BILLING_HOLD_DAYS,
    )


def look() -> None:
    """Look at all accounts that owe or owed. Nothing while the installation stands still."""
    if installation.why_still():
        return
    _begin()
    ends_at = monotonic() + RUN_SECONDS
    open_ones = Dunning.objects.filter(ended_at=None).select_related("account__team")
    for dunning in list(open_ones.order_by("looked_at", "pk")[:BATCH]):
        if monotonic() > ends_at:
            return
        # First: one that fails each time mustn't hold up those behind it.
        _mine(dunning).update(looked_at=clock.unmoved())
        _look_at(dunning)


def _failed() -> QuerySet[Invoice]:
    return Invoice.objects.filter(status=InvoiceStatus.OPEN, failed_at__isnull=False)


def _begin() -> None:
    """Note who owes since when."""
    noted = Dunning.objects.filter(account=OuterRef("account"), ended_at=None)
    owing = _failed().filter(~Exists(noted)).order_by().values("account").annotate(since=Min("failed_at"))
    for row in list(owing[:BATCH]):
        try:
            with transaction.atomic():
                Dunning.objects.create(account_id=row["account"], began_at=row["since"])
        except IntegrityError:
            # Another worker was first.
            continue


def _look_at(dunning: Dunning) -> None:
    owed = list(_failed().filter(account=dunning.account).select_related("statement").order_by("finalized_at"))
    if not owed:
        _end(dunning)
        return
    if dunning.disabled_at:
        _disable_all(dunning)
        return
    _note_warning(dunning)
    act = next_act(_facts(dunning), policy())
    if isinstance(act, Nothing) or not _still_owed(owed):
        # What was paid meanwhile ends it at the next look.
        return
    match act:
        case Remind(day):
            _tell(dunning, owed, "payment_failed", f"reminder-{day}", "{amount} could not be paid")
        case Warn(on):
            _warn(dunning, owed, on)
        case Disable(held_until):
            _disable(dunning, owed, held_until)


def _still_owed(owed: list[Invoice]) -> bool:
    """Ask Stripe itself before anybody is reminded, or worse: a webhook may be late. False when it can't be asked."""
    try:
        seen = [mirror.refresh(invoice) for invoice in owed]
    except CollectingError as error:
        log.warning("nobody is reminded while it isn't known what is paid: %s", error)
        return False
    return all(invoice.status == InvoiceStatus.OPEN for invoice in seen)


def _facts(dunning: Dunning) -> Facts:
    keys = Notice.objects.filter(team=dunning.account.team, key__startswith=_key(dunning, "reminder-"))
    days = (key.rpartition("-")[2] for key in keys.values_list("key", flat=True))
    return Facts(
        now=clock.now(),
        began_at=dunning.began_at,
        reminded=frozenset(int(day) for day in days),
        told_date=dunning.told_date,
        warned_at=dunning.warned_at,
        disabled_at=dunning.disabled_at,
    )


def _warn(dunning: Dunning, owed: list[Invoice], on: datetime) -> None:
    with transaction.atomic():
        if _mine(dunning).filter(told_date=None).update(told_date=on):
            _tell(dunning, owed, "disable_warning", "warning", "Pay {amount} by " + f"{on:%Y-%m-%d}", on=_utc(on))


def _note_warning(dunning: Dunning) -> None:
    """See whether the warning's mail was sent; one that can't be sent to anybody is a person's business."""
    if dunning.told_date is None or dunning.warned_at:
        return
    mails = NoticeMail.objects.filter(
        notification__team=dunning.account.team, notification__key=_key(dunning, "warning")
    )
    if mails.filter(sent_at__isnull=False).exists():
        dunning.warned_at = clock.now()
        _mine(dunning).update(warned_at=dunning.warned_at)
    elif not mails.filter(due_at__isnull=False).exists():
        _say_unwarned(dunning)


def _say_unwarned(dunning: Dunning) -> None:
    step = f"dunning.warn {dunning.pk}"
    # Once: whatever was decided about it, there is nothing new to decide.
    if not Refusal.objects.filter(step=step).exists():
        message = (
            f"{dunning.account}: nobody can be warned by mail that egress is about to be disabled, so it isn't. Mend"
            " the owners' addresses; what is to be done about this debt is a person's decision."
        )
        refuse(step=step, code="not_delivered", message=message, account=dunning.account)


def _disable(dunning: Dunning, owed: list[Invoice], held_until: datetime | None) -> None:
    with transaction.atomic():
        if not _mine(dunning).filter(disabled_at=None).update(disabled_at=clock.now(), held_until=held_until):
            return
        until = _utc(held_until) if held_until else ""
        _tell(
            dunning, owed, "disabled", "disabled", "Dedicated egress is disabled: {amount} is unpaid", held_until=until
        )
    dunning.refresh_from_db()
    _disable_all(dunning)


def _disable_all(dunning: Dunning) -> None:
    """Withdraw what is enabled: a worker that died half way has left the rest to the next look."""
    for app in _apps(dunning.account, Assignment.objects.filter(wish="enabled")):
        egress_withdraw(app=app, reason="invoices are unpaid", held_until=dunning.held_until)


def _end(dunning: Dunning) -> None:
    """Nothing is owed any more: give back what is still held, and say so."""
    apps = _apps(dunning.account, Assignment.objects.filter(held_until=dunning.held_until, wish="disabled"))
    resumed = [egress_resume(app=app, reason="invoices are paid") for app in apps] if dunning.held_until else []
    with transaction.atomic():
        if _mine(dunning).update(ended_at=clock.now()):
            facts = {"resumed": any(resumed)}
            _notify(dunning, "paid", "paid", "Nothing is owed any more", **facts)


def _apps(account: BillingAccount, assignments: QuerySet[Assignment]) -> list[App]:
    unreleased = assignments.exclude(status=AssignmentStatus.RELEASED).filter(app=OuterRef("pk"))
    return list(App.objects.filter(Exists(unreleased), team=account.team_id))


def _tell(dunning: Dunning, owed: list[Invoice], kind: str, key: str, subject: str, **facts: Any) -> None:
    amount = _amount(owed)
    numbers = ", ".join(invoice.number or f"{invoice.statement.month:%B %Y}" for invoice in owed)
    told = {**facts, "amount": amount, "invoices": numbers, "hold_days": policy().hold_days}
    _notify(dunning, kind, key, subject.format(amount=amount), **told)


def _notify(dunning: Dunning, kind: str, key: str, subject: str, **facts: Any) -> None:
    team = dunning.account.team
    notify(team, kind=kind, key=_key(dunning, key), subject=f"{team}: {subject}", **facts)


def _amount(owed: list[Invoice]) -> str:
    sums: dict[str, int] = {}
    for invoice in owed:
        sums[invoice.currency] = sums.get(invoice.currency, 0) + invoice.open_cents
    return " and ".join(f"{cents // 100:,}.{cents % 100:02d} {currency}" for currency, cents in sorted(sums.items()))


def _key(dunning: Dunning, what: str) -> str:
    return f"dunning-{dunning.pk}-{what}"


def _mine(dunning: Dunning) -> QuerySet[Dunning]:
    return Dunning.objects.filter(pk=dunning.pk, ended_at=None)


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
