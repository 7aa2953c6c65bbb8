"""The operators' pages of prices, terms and credits."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing.models import Credit, Price, Terms
from egress.control import clock
from egress.control.models import Event
from portal.accounts.models import User
from tests.factories import make_cluster, make_team, make_user

from .statements.rows import at, go_to, make_price

pytestmark = [pytest.mark.django_db, pytest.mark.costly]
NOW, SOON, LATER = at(10), at(15), at(20)
PRICE: dict[str, Any] = {
    "currency": "USD",
    "per_slot_hour": "0.02",
    "cap_hours": "672",
    "per_gib": "0",
    "included_gib": "0",
    "starts_at": "2026-01-15T00:00:00",
    "reason": "dearer servers",
}


@pytest.fixture(autouse=True)
def _now(settings: Settings) -> None:
    go_to(settings, NOW)


def add(client: Client, model: str, **typed: Any) -> Any:
    return client.post(reverse(f"admin:billing_{model}_add"), typed)


def errors(answer: HttpResponse) -> dict[str, list[str]]:
    assert answer.status_code == 200
    form: Any = answer.context["form"]  # type: ignore[attr-defined]
    return {str(name): [str(each) for each in found] for name, found in form.errors.items()}


# --- prices -----------------------------------------------------------------------------------------------------------


def test_a_price_is_set_with_its_reason_and_the_one_before_keeps_its_past(
    admin_client: Client, admin_user: User
) -> None:
    make_price("0.01")
    cluster = make_cluster()
    assert add(admin_client, "price", **PRICE).status_code == 302
    assert add(admin_client, "price", **PRICE, cluster=cluster.pk, ends_at="2026-01-20T00:00:00").status_code == 302

    # The first is the settings' price, for the time before.
    _, old, new, own = Price.objects.order_by("starts_at", "pk")
    assert (old.ends_at, new.starts_at, new.ends_at, new.per_slot_hour) == (SOON, SOON, None, Decimal("0.02"))
    assert (own.cluster, own.ends_at, own.reason, own.created_by) == (cluster, LATER, "dearer servers", admin_user)
    noted = Event.objects.filter(subject="price.set", actor=admin_user)
    assert [event.reason.endswith("dearer servers") for event in noted] == [True, True]
    shown = admin_client.get(reverse("admin:billing_price_changelist")).content.decode()
    assert "0.02 USD" in shown
    assert "all clusters" in shown
    assert cluster.name in shown


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"per_slot_hour": "-0.01"}, "per_slot_hour", "greater than or equal to 0"),
        ({"per_slot_hour": "NaN"}, "per_slot_hour", "Enter a number"),
        ({"per_slot_hour": "0.000000001"}, "per_slot_hour", "8 decimal places"),
        ({"per_gib": "-1"}, "per_gib", "greater than or equal to 0"),
        ({"cap_hours": "-1"}, "cap_hours", "greater than or equal to 0"),
        ({"cap_hours": "745"}, "cap_hours", "less than or equal to 744"),
        ({"currency": "JPY"}, "currency", "JPY is not one of the available choices"),
        ({"currency": "usd"}, "currency", "usd is not one of the available choices"),
        ({"cluster": "4711"}, "cluster", "not one of the available choices"),
        ({"reason": " "}, "reason", "Say why"),
        ({"starts_at": "2026-01-09T23:59:59"}, "starts_at", "never changed afterwards"),
        ({"starts_at": "2026-01-12T00:00:00"}, "starts_at", "There is already"),
        ({"starts_at": "2026-01-16T00:00:00", "ends_at": "2026-01-17T00:00:00"}, "starts_at", "There is already"),
        ({"ends_at": "2026-01-15T00:00:00"}, "__all__", "ends after its start"),
        ({"starts_at": "soon"}, "starts_at", "Enter a valid date/time"),
    ],
)
def test_what_can_not_be_is_said_on_the_form_with_what_was_typed(
    admin_client: Client, typed: dict[str, str], field: str, words: str
) -> None:
    make_price("0.01", ends_at=SOON)
    make_price("0.02", starts_at=SOON)
    answer = add(admin_client, "price", **{**PRICE, **typed})
    found = errors(answer)
    assert list(found) == [field]
    assert words in found[field][0]
    (name, value), *_ = typed.items()
    if name != "currency":
        assert answer.context["form"][name].value() == value
    assert Price.objects.count() == 2
    assert not Event.objects.exists()


def test_a_price_without_a_start_holds_at_once(admin_client: Client) -> None:
    make_price("0.01")
    assert add(admin_client, "price", **{**PRICE, "starts_at": ""}).status_code == 302
    new = Price.objects.order_by("starts_at").last()
    assert new
    assert timedelta(0) <= new.starts_at - NOW < timedelta(minutes=5)


def test_a_price_is_ended_and_one_to_come_is_withdrawn_each_with_a_reason(
    admin_client: Client, admin_user: User
) -> None:
    held, own = make_price("0.01", ends_at=SOON), make_price("0.02", starts_at=SOON)
    end = reverse("admin:billing_price_end_this", args=[held.pk])
    withdraw = reverse("admin:billing_price_withdraw_this", args=[own.pk])
    assert b"Withdraw it" in admin_client.get(withdraw).content
    assert list(errors(admin_client.post(withdraw, {"reason": ""}))) == ["reason"]
    assert list(errors(admin_client.post(end, {"at": "", "reason": "x"}))) == ["at"]
    assert "never changed" in errors(admin_client.post(end, {"at": "2026-01-09", "reason": "x"}))["__all__"][0]

    assert admin_client.post(withdraw, {"reason": "a typo"}).status_code == 302
    assert admin_client.post(end, {"at": "2026-01-12T00:00:00", "reason": "fair"}).status_code == 302

    (left,) = Price.objects.all()
    assert (left, left.ends_at) == (held, at(12))
    noted = Event.objects.filter(actor=admin_user).values_list("subject", flat=True)
    assert sorted(noted) == ["price.end", "price.withdraw"]
    begun = reverse("admin:billing_price_withdraw_this", args=[held.pk])
    assert "holds already" in errors(admin_client.post(begun, {"reason": "x"}))["__all__"][0]
    assert admin_client.post(withdraw, {"reason": "again"}).status_code == 404


def test_rows_are_looked_at_and_never_changed(admin_client: Client) -> None:
    price = make_price("0.01")
    page = reverse("admin:billing_price_change", args=[price.pk])
    assert b"in force" in admin_client.get(page).content
    assert admin_client.post(page, {"per_slot_hour": "9"}).status_code == 403
    assert admin_client.post(reverse("admin:billing_price_delete", args=[price.pk])).status_code == 403


def test_who_may_only_look_sets_nothing() -> None:
    price = make_price("0.01", starts_at=SOON)
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_price"))
    client = Client()
    client.force_login(viewer)
    assert client.get(reverse("admin:billing_price_change", args=[price.pk])).status_code == 200
    answers = [add(client, "price", **PRICE), add(client, "terms"), add(client, "credit")]
    for name in ("end_this", "withdraw_this"):
        page = reverse(f"admin:billing_price_{name}", args=[price.pk])
        answers.append(client.post(page, {"reason": "x", "at": "2026-01-19"}))
    assert [answer.status_code for answer in answers] == [403] * 5
    assert Price.objects.get().ends_at is None


# --- terms and credits ------------------------------------------------------------------------------------------------


def test_terms_are_agreed_with_a_reason_and_refused_where_they_can_not_be(
    admin_client: Client, admin_user: User
) -> None:
    team = make_team()
    typed = {"team": team.pk, "discount_percent": "12.5", "free_slot_hours": "10", "reason": "a pilot"}
    assert add(admin_client, "terms", **typed).status_code == 302
    terms = Terms.objects.get()
    assert (terms.discount_percent, terms.free_slot_hours, terms.created_by) == (Decimal("12.5"), 10, admin_user)
    assert b"12.5 %" in admin_client.get(reverse("admin:billing_terms_changelist")).content

    for change, field in (
        ({"discount_percent": "100.01"}, "discount_percent"),
        ({"discount_percent": "-1"}, "discount_percent"),
        ({"free_slot_hours": "-1"}, "free_slot_hours"),
        ({"team": ""}, "team"),
        ({"reason": ""}, "reason"),
        ({"starts_at": "2025-12-01T00:00:00"}, "starts_at"),
    ):
        assert list(errors(add(admin_client, "terms", **{**typed, **change}))) == [field], change
    assert Terms.objects.count() == 1


def test_a_credit_is_granted_to_the_cent_with_a_reason(admin_client: Client, admin_user: User) -> None:
    team = make_team()
    typed = {"team": team.pk, "amount": "20.07", "currency": "EUR", "reason": "an outage"}
    assert add(admin_client, "credit", **typed).status_code == 302
    credit = Credit.objects.get()
    assert (credit.cents, credit.currency, credit.granted_by) == (2007, "EUR", admin_user)
    assert "€20.07" in admin_client.get(reverse("admin:billing_credit_changelist")).content.decode()
    assert Event.objects.get().subject == "credit.grant"

    past = f"{clock.now() - timedelta(days=1):%Y-%m-%dT%H:%M:%S}"
    for change, field in (
        ({"amount": "0"}, "amount"),
        ({"amount": "0.001"}, "amount"),
        ({"amount": "-5"}, "amount"),
        ({"currency": "XXX"}, "currency"),
        ({"reason": ""}, "reason"),
        ({"expires_at": past}, "__all__"),
    ):
        assert list(errors(add(admin_client, "credit", **{**typed, **change}))) == [field], change
    assert Credit.objects.count() == 1
