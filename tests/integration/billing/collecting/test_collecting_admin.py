"""The operators' pages of collecting."""

from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from billing.collecting import collect, invoicing, refusals
from billing.models import Invoice, InvoiceStatus, Refusal
from egress.control import clock
from portal.accounts.models import User
from tests.factories import make_user

from .rows import GOOD, make_payer, make_statement
from .stripe_side import StripeSide

pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(240)]
MODELS = ["refusal", "invoice", "movement", "webhookevent", "dunning", "notice", "billingaccount"]


@pytest.fixture
def page() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator@example.com", "a-long-password"))
    return client


def refused(stripe_side: StripeSide) -> Refusal:
    stripe_side.fault("refused", "invoices.finalize", message="Not that one.")
    collect(make_statement(make_payer(), 900))
    return Refusal.objects.get()


def make_rows(stripe_side: StripeSide) -> None:
    from billing.models import Dunning, Notice, WebhookEvent

    refusal = refused(stripe_side)
    invoice = collect(make_statement(make_payer(stripe_side, card=GOOD), 1_234))
    WebhookEvent.objects.create(stripe_id="evt_1", type="x", payload={}, sent_at=clock.now())
    Dunning.objects.create(account=invoice.account)
    Notice.objects.create(team=invoice.account.team, kind="paid", key="k", subject="s", text="t")
    assert refusal.account


def test_every_list_and_row_opens_and_searches(stripe_side: StripeSide, page: Client) -> None:
    make_rows(stripe_side)
    for model in MODELS:
        address = reverse(f"admin:billing_{model}_changelist")
        for query in ({}, {"q": "team"}, {"attention": "any"}):
            answer = page.get(address, query, follow=True)
            assert answer.status_code == 200, (model, query)
        row: Any = apps.get_model("billing", model).objects.first()
        assert page.get(reverse(f"admin:billing_{model}_change", args=[row.pk])).status_code == 200, model


def test_the_list_of_what_waits_shows_it_with_stripes_words(stripe_side: StripeSide, page: Client) -> None:
    refused(stripe_side)
    shown = page.get(reverse("admin:billing_refusal_changelist"), {"attention": "undecided"}).content.decode()
    assert "Not that one." in shown


def test_a_refusal_is_tried_again_from_its_page_after_a_question(stripe_side: StripeSide, page: Client) -> None:
    refusal = refused(stripe_side)
    address = reverse("admin:billing_refusal_retry_this", args=[refusal.pk])
    assert "Try this again?" in page.get(address).content.decode()
    assert Refusal.objects.get().decided_at is None
    page.post(address, {"confirmed": "yes"})
    invoicing.sweep()
    assert (Refusal.objects.get().decision, Invoice.objects.get().status) == ("retry", InvoiceStatus.OPEN)
    # A second click is told so.
    assert "decided about this already" in page.post(address, {"confirmed": "yes"}, follow=True).content.decode()


def test_giving_up_asks_for_a_reason(stripe_side: StripeSide, page: Client) -> None:
    refusal = refused(stripe_side)
    address = reverse("admin:billing_refusal_give_up_this", args=[refusal.pk])
    assert 'name="reason"' in page.get(address).content.decode()
    assert "Say why" in page.post(address, {"reason": ""}, follow=True).content.decode()
    assert Refusal.objects.get().decided_at is None
    page.post(address, {"reason": "too old"})
    given_up = Refusal.objects.get()
    assert (given_up.decision, given_up.reason, str(given_up.decided_by)) == (
        "give_up",
        "too old",
        "operator@example.com",
    )
    assert Invoice.objects.get().status == InvoiceStatus.UNCOLLECTIBLE


def test_who_may_only_look_decides_nothing(stripe_side: StripeSide) -> None:
    from django.contrib.auth.models import Permission

    refusal = refused(stripe_side)
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_refusal"))
    client = Client()
    client.force_login(viewer)
    assert client.get(reverse("admin:billing_refusal_change", args=[refusal.pk])).status_code == 200
    for name in ("retry_this", "give_up_this"):
        address = reverse(f"admin:billing_refusal_{name}", args=[refusal.pk])
        assert client.post(address, {"confirmed": "yes", "reason": "x"}).status_code == 403
    assert Refusal.objects.get().decided_at is None


def test_two_who_decide_at_once_decide_once(stripe_side: StripeSide) -> None:
    refusal = refused(stripe_side)
    same = Refusal.objects.get()
    refusals.retry(refusal=refusal, actor=make_user())
    with pytest.raises(refusals.NotDecidable):
        refusals.give_up(refusal=same, actor=make_user(), reason="late")
    assert Invoice.objects.get().status == InvoiceStatus.DRAFT
