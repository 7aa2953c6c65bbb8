"""What operators change: prices, a team's terms, credits. Each is one transaction; what was in force stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet

from billing.models import Credit, Price, Statement, Terms
from egress.control import clock, events
from egress.control.installation import here
from egress.control.models import Cluster, Event
from egress.control.models_installation import Installation
from portal.accounts.models import Team, User

from . import months
from .errors import CreditInvalid, PeriodOverlaps, PeriodPast, PriceInvalid, TermsInvalid
from .money import in_words, known_currency
from .prices import EVER, settings_price

#: What a column of a price holds: 14 digits, 8 of them decimals.
PRICE_DECIMALS = 8
PRICE_LIMIT = Decimal(10) ** 6
PERCENT_DECIMALS = 2
HUNDRED = 100
_Row = TypeVar("_Row", Price, Terms)


def price_set(
    *,
    per_slot_hour: Decimal,
    starts_at: datetime,
    reason: str,
    actor: User | None,
    ends_at: datetime | None = None,
    cluster: Cluster | None = None,
    currency: str = "USD",
    **more: Any,
) -> Price:
    """Set the price of a cluster, or of all clusters, from `starts_at` on; the one in force then ends there.

    `more`: per_gib, included_gib, cap_hours. Raises CurrencyUnknown, PriceInvalid, PeriodPast, and PeriodOverlaps where
    the new period isn't free and isn't the rest of one that is in force at its start. Nothing is written then.
    """
    price = Price(
        cluster=cluster,
        currency=known_currency(currency),
        per_slot_hour=per_slot_hour,
        starts_at=starts_at.replace(microsecond=0),
        ends_at=ends_at and ends_at.replace(microsecond=0),
        reason=_reason(reason),
        created_by=actor,
        **more,
    )
    _check_price(price)
    with prices_locked():
        price_of_settings_keep()
        alike = Price.objects.filter(cluster=cluster, currency=currency)
        if price.starts_at < clock.now():
            _refuse_past(price)
        before = _give_way(alike, price)
        price.save()
        old = f"{before.per_slot_hour}" if before else ""
        _note("price.set", price, actor, old=old, new=f"{price.per_slot_hour}")
    return price


def price_end(*, price: Price, at: datetime, reason: str, actor: User | None) -> Price:
    """End a price at `at`: from then on another's holds, a cluster's own giving way to that of all.

    Raises PeriodPast, and PriceInvalid for what doesn't go on until then.
    """
    at = at.replace(microsecond=0)
    if at < clock.now():
        raise PeriodPast
    with prices_locked():
        present = Price.objects.select_for_update().get(pk=price.pk)
        if at <= present.starts_at or (present.ends_at is not None and at >= present.ends_at):
            raise PriceInvalid(f"This price doesn't hold before and after {at:%Y-%m-%d %H:%M:%S} UTC.")
        present.ends_at = at
        present.save(update_fields=["ends_at"])
        _note("price.end", present, actor, old=f"{present.per_slot_hour}", why=_reason(reason))
    return present


def price_withdraw(*, price: Price, reason: str, actor: User | None) -> None:
    """Take back a price that hasn't begun; the one before it goes on in its place. Raises PeriodPast."""
    with prices_locked():
        present = Price.objects.select_for_update().get(pk=price.pk)
        if present.starts_at <= clock.now():
            raise PeriodPast(f"{present} holds already: set another one instead.")
        _note("price.withdraw", present, actor, old=f"{present.per_slot_hour}", why=_reason(reason))
        present.delete()
        alike = Price.objects.filter(cluster=present.cluster, currency=present.currency)
        alike.filter(ends_at=present.starts_at).update(ends_at=present.ends_at)


def price_of_settings_keep() -> None:
    """Make a row of the settings' price for the time before the first row of all clusters, unless there is one.

    Inside a transaction.
    """
    price = settings_price()
    known_currency(price.currency)
    first = Price.objects.filter(cluster=None, currency=price.currency).order_by("starts_at").first()
    if first is None or first.starts_at > EVER:
        price.ends_at = first.starts_at if first else None
        price.save()


def terms_set(
    *,
    team: Team,
    starts_at: datetime,
    reason: str,
    actor: User | None,
    discount_percent: Decimal = Decimal(0),
    free_slot_hours: int = 0,
    ends_at: datetime | None = None,
) -> Terms:
    """Agree on a discount and free hours with `team` from `starts_at` on; what was agreed before ends there.

    That may lie in the past, down to the end of the last month that was stated. Raises TermsInvalid, PeriodPast,
    PeriodOverlaps.
    """
    terms = Terms(
        team=team,
        discount_percent=discount_percent,
        free_slot_hours=free_slot_hours,
        starts_at=starts_at.replace(microsecond=0),
        ends_at=ends_at and ends_at.replace(microsecond=0),
        reason=_reason(reason),
        created_by=actor,
    )
    _check_terms(terms)
    with transaction.atomic():
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)
        stated = Statement.objects.filter(team=team).order_by("-month").first()
        if stated and terms.starts_at < months.end_of(stated.month):
            raise PeriodPast(f"{stated.month:%Y-%m} has its statement already: begin after it, or grant a credit.")
        _give_way(Terms.objects.filter(team=team), terms)
        terms.save()
        new = f"{terms.discount_percent} %, {free_slot_hours} h free"
        events.record(Event.Kind.REQUEST, "terms.set", on=None, new=new, reason=f"{team}: {reason}", actor=actor)
    return terms


def credit_grant(
    *,
    team: Team,
    cents: int,
    reason: str,
    actor: User | None,
    currency: str = "USD",
    expires_at: datetime | None = None,
) -> Credit:
    """Give `team` an amount that its next statements draw from. Raises CreditInvalid, CurrencyUnknown."""
    if cents < 1:
        raise CreditInvalid
    if expires_at is not None and expires_at <= clock.now():
        raise CreditInvalid
    with transaction.atomic():
        credit = Credit.objects.create(
            team=team,
            currency=known_currency(currency),
            cents=cents,
            reason=_reason(reason),
            granted_by=actor,
            expires_at=expires_at,
        )
        new = in_words(cents, currency)
        events.record(Event.Kind.REQUEST, "credit.grant", on=None, new=new, reason=f"{team}: {reason}", actor=actor)
    return credit


@contextmanager
def prices_locked() -> Iterator[None]:
    """Open a transaction in which nobody else changes prices.

    It holds the installation's row, for there may be no price to hold.
    """
    with transaction.atomic():
        Installation.objects.select_for_update().get(pk=here().pk)
        yield


def _reason(reason: str) -> str:
    if not reason.strip():
        raise PriceInvalid("Say why: it is kept with the change.")
    return reason.strip()[:200]


def _check_price(price: Price) -> None:
    for name in ("per_slot_hour", "per_gib"):
        amount = Decimal(getattr(price, name))
        if not amount.is_finite() or not 0 <= amount < PRICE_LIMIT or round(amount, PRICE_DECIMALS) != amount:
            raise PriceInvalid(f"{name} is {amount}: it may be 0 to 999999.99999999, with eight decimals at most.")
    if price.cap_hours < 0 or price.included_gib < 0:
        raise PriceInvalid("cap_hours and included_gib may not be negative.")
    if price.ends_at is not None and price.ends_at <= price.starts_at:
        raise PriceInvalid("A price ends after its start.")


def _check_terms(terms: Terms) -> None:
    percent = Decimal(terms.discount_percent)
    if not percent.is_finite() or not 0 <= percent <= HUNDRED or round(percent, PERCENT_DECIMALS) != percent:
        raise TermsInvalid(f"The discount is {percent} %: it may be 0 to 100, with two decimals at most.")
    if terms.free_slot_hours < 0 or (terms.ends_at is not None and terms.ends_at <= terms.starts_at):
        raise TermsInvalid("Free hours may not be negative, and terms end after their start.")


def _refuse_past(price: Price) -> None:
    """Refuse a start in the past, unless nobody was told another price for that time."""
    now = clock.now()
    told = Price.objects.filter(
        Q(cluster=None) | Q(cluster=price.cluster),
        Q(ends_at=None) | Q(ends_at__gt=price.starts_at),
        currency=price.currency,
        starts_at__lt=now,
    )
    stated = Statement.objects.filter(currency=price.currency, month__gte=months.month_of(price.starts_at))
    if told.exists() or stated.exists():
        raise PeriodPast(
            f"For {price.starts_at:%Y-%m-%d %H:%M:%S} UTC there is a price already, or a statement; it is"
            f" {now:%Y-%m-%d %H:%M:%S} now. What was in force is never changed afterwards: begin now or later."
        )


def _give_way(rows: "QuerySet[_Row]", new: _Row) -> _Row | None:
    """End the row whose rest `new` takes over, and return it; None if the period was free. Raises PeriodOverlaps."""
    begins_before_it_ends = Q() if new.ends_at is None else Q(starts_at__lt=new.ends_at)
    there = list(rows.filter(begins_before_it_ends, Q(ends_at=None) | Q(ends_at__gt=new.starts_at)))
    if not there:
        return None
    row = there[0]
    if len(there) > 1 or row.starts_at >= new.starts_at or row.ends_at != new.ends_at:
        raise PeriodOverlaps(
            f"There is already: {'; '.join(map(str, there))}. A new row takes a free period, or all of the rest of one:"
            " end or withdraw what stands in its way, or give it that row's end."
        )
    row.ends_at = new.starts_at
    row.save(update_fields=["ends_at"])
    return row


def _note(subject: str, price: Price, actor: User | None, *, why: str = "", **moved: str) -> None:
    until = f" to {price.ends_at:%Y-%m-%d %H:%M:%S}" if price.ends_at else ""
    what = f"{price.currency} an hour from {price.starts_at:%Y-%m-%d %H:%M:%S}{until} UTC: {why or price.reason}"
    events.record(Event.Kind.REQUEST, subject, on=price.cluster, reason=what, actor=actor, **moved)
