"""What a user's teams were told, of apps and of billing, as one list."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import CharField, QuerySet, Value
from django.urls import reverse

from billing.models import Notice
from billing.notices import notices_of
from egress.control.models_told import Notification
from egress.control.told.notices import notifications_of
from portal.accounts.models import User

PER_PAGE = 20
_APP, _MONEY = "app", "money"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing; `url` leads to what it is about."""

    subject: str
    text: str
    created_at: datetime
    team: str
    about: str
    url: str


def page_of(user: User, number: str) -> tuple[Page[Any], list[Told]]:
    """Return a page of what `user` may read, newest first, and its entries: four queries, however much there is."""
    keys = _keys(notifications_of(user), _APP).union(_keys(notices_of(user), _MONEY), all=True)
    page = Paginator(keys.order_by("-created_at", "-source", "-pk"), PER_PAGE).get_page(number)
    rows = list(page)
    apps = notifications_of(user).in_bulk(_of(rows, _APP))
    money = notices_of(user).in_bulk(_of(rows, _MONEY))
    told = {
        **{(_APP, pk): _of_app(row) for pk, row in apps.items()},
        **{(_MONEY, pk): _of_money(row) for pk, row in money.items()},
    }
    # What was deleted in between is left out.
    return page, [told[source, pk] for _, source, pk in rows if (source, pk) in told]


def _keys(rows: QuerySet[Any], source: str) -> QuerySet[Any, Any]:
    named = rows.select_related(None).order_by().annotate(source=Value(source, output_field=CharField()))
    keys: QuerySet[Any, Any] = named.values_list("created_at", "source", "pk")
    return keys


def _of(rows: Iterable[tuple[datetime, str, int]], source: str) -> list[int]:
    return [pk for _, each, pk in rows if each == source]


def _of_app(row: Notification) -> Told:
    return Told(
        subject=row.subject,
        text=row.text,
        created_at=row.created_at,
        team=row.team.name,
        about=row.app.name,
        url=reverse("web:app", args=[row.app_id]),
    )


def _of_money(row: Notice) -> Told:
    return Told(
        subject=row.subject,
        text=row.text,
        created_at=row.created_at,
        team=row.team.name,
        about="Billing",
        url=reverse("web:billing-overview", args=[row.team.slug]),
    )
