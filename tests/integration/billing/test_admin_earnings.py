"""The operators' pages of revenue by month and of the margin of apps."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.earnings.margin import margin_of
from billing.earnings.revenue import revenue
from billing.models import Movement, StatementLine
from egress.control.models import App, Gateway
from portal.accounts.models import Team
from tests.factories import make_app, make_cluster, make_team, make_user
from tests.integration.portal.billing_rows import invoice, statement, usage_line

from .statements.rows import FEBRUARY, JANUARY, at, go_to, make_assignment, unguard

pytestmark = [pytest.mark.costly, pytest.mark.django_db]
MONTH = JANUARY.date()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _now(settings: Settings) -> None:
    go_to(settings, at(5, month=3))


def amount(kind: str, cents: int, month: datetime = JANUARY) -> StatementLine:
    end = (month + timedelta(days=32)).replace(day=1)
    return StatementLine(kind=kind, description=kind, begin=month, end=end, exact=cents / 100, cents=cents)


def server(app: App, slot: int, begin: datetime, end: datetime | None, **fields: Any) -> Gateway:
    gateway = Gateway.objects.create(
        assignment=app.assignments.get(), slot=slot, created_at=begin, deleted_at=end, provisioning_status="deleted"
    )
    Gateway.objects.filter(pk=gateway.pk).update(**{"server_id": f"d-{gateway.pk}", **fields})
    return gateway


def sold(app: App, *cents: int, month: date = MONTH) -> list[StatementLine]:
    """Return lines of an app: of gateway A, and B."""
    assignment = app.assignments.get()
    return [usage_line(assignment, slot, month, each) for slot, each in enumerate(cents)]


def make_pair(team: Team | None = None, **fields: Any) -> App:
    return make_assignment(app=make_app(team, **fields)).app


# --- revenue ----------------------------------------------------------------------------------------------------------


def test_revenue_adds_up_by_month_and_currency(admin_client: Client) -> None:
    team, app = make_team(), make_pair()
    lines = [*sold(app, 1250, 1250), amount("traffic", 300), amount("discount", -280), amount("credit", -520)]
    paid = invoice(statement(team, MONTH, lines), "paid", paid_cents=2380, due_cents=2380, tax_cents=380)
    Movement.objects.create(
        stripe_id="re_1", kind="refund", account=paid.account, invoice=paid, currency="USD", cents=500,
        status="succeeded", happened_at=FEBRUARY,
    )  # fmt: skip
    for number, status in enumerate(("lost", "won", "needs_response", "warning_needs_response")):
        Movement.objects.create(
            stripe_id=f"du_{number}", kind="dispute", account=paid.account, invoice=paid, currency="USD", cents=350,
            status=status, happened_at=FEBRUARY,
        )  # fmt: skip
    open_one = statement(make_team(), MONTH, sold(app, 100))
    invoice(open_one, "open", due_cents=119, tax_cents=19)
    given_up = statement(make_team(), FEBRUARY.date(), sold(app, 100, month=FEBRUARY.date()))
    invoice(given_up, "uncollectible", due_cents=100, credited_cents=7)

    february, january = revenue(MONTH)

    assert (january.month, january.statements, january.stated, january.tax) == (MONTH, 2, 2100, 399)
    assert january.kinds == {"usage": 2600, "traffic": 300, "discount": -280, "credit": -520}
    assert sum(january.kinds.values()) == january.stated
    assert (january.paid, january.unpaid, january.given_up, january.refunded, january.disputed) == (
        2380,
        119,
        0,
        500,
        700,
    )
    assert (february.stated, february.unpaid, february.given_up, february.credited) == (100, 0, 100, 7)
    page = admin_client.get(reverse("admin:billing_revenue")).content.decode()
    assert all(words in page for words in ("2026-02", "2026-01", "$21.00", "\N{MINUS SIGN}$5.20", "$23.80", "$1.19"))


def test_without_statements_the_pages_say_so(admin_client: Client) -> None:
    assert b"no statements yet" in admin_client.get(reverse("admin:billing_revenue")).content
    assert b"no statements of that month" in admin_client.get(reverse("admin:billing_margin")).content


# --- margin -----------------------------------------------------------------------------------------------------------


def test_an_app_s_servers_are_held_against_what_it_was_charged(admin_client: Client) -> None:
    team = make_team()
    app, idle = make_pair(team), make_pair(team)
    statement(team, MONTH, sold(app, 1250, 1250))
    server(app, 0, JANUARY - HOUR, None)
    # Replaced in the middle: two servers, 336 hours of one and the rest of the month, 408 hours, of the other.
    server(app, 1, JANUARY, JANUARY + 336 * HOUR)
    server(app, 1, JANUARY + 336 * HOUR, None)
    # Addresses that were held cost without a charge.
    server(idle, 0, JANUARY, JANUARY + 336 * HOUR)
    server(idle, 1, FEBRUARY, None)
    server(idle, 1, JANUARY, JANUARY + HOUR, server_id="")

    found = margin_of(MONTH)

    assert [(each.app_id, each.charged, each.cost.cents, each.cents) for each in found.apps] == [
        (idle.pk, {}, 300, -300),
        (app.pk, {"USD": 2500}, 600 + 300 + 364, 1236),
    ]
    assert (found.charged, found.cost.cents, found.cents) == ({"USD": 2500}, 1564, 936)
    page = admin_client.get(reverse("admin:billing_margin"), {"in_month": "2026-01"}).content.decode()
    assert all(words in page for words in (app.name, "$12.36", "49 %", "\N{MINUS SIGN}$3.00", "$9.36", "an estimate"))


def test_discounts_are_shared_out_later_corrections_belong_to_their_month_and_credits_stay_out() -> None:
    team = make_team()
    small, large = make_pair(team), make_pair(team)
    lines = [*sold(small, 500), *sold(large, 1500), amount("discount", -201), amount("credit", -1799)]
    statement(team, MONTH, lines)
    fixed = sold(large, -100)[0]
    fixed.kind = "correction"
    statement(team, FEBRUARY.date(), [*sold(large, 900, month=FEBRUARY.date()), fixed])

    charged = {each.app_id: each.charged["USD"] for each in margin_of(MONTH).apps}

    # 201 cents in the proportion of 500 to 1,400.
    assert sum(charged.values()) == 500 + 1500 - 100 - 201
    assert charged[small.pk] in {500 - 52, 500 - 53}
    assert margin_of(FEBRUARY.date()).charged == {"USD": 900}


def test_what_can_not_be_compared_has_no_margin(settings: Settings, admin_client: Client) -> None:
    abroad, unknown = make_pair(), make_pair(cluster=make_cluster(gateway_size="s-9vcpu-99gb"))
    foreign = statement(abroad.team, MONTH, sold(abroad, 1000))
    unguard("billing_statement")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_statement SET currency = 'EUR' WHERE id = %s", [_key(foreign.pk)])
    statement(unknown.team, MONTH, sold(unknown, 1000))
    for app in (abroad, unknown):
        server(app, 0, JANUARY, None)

    found = {each.app_id: each for each in margin_of(MONTH).apps}

    assert (found[abroad.pk].charged, found[abroad.pk].cents) == ({"EUR": 1000}, None)
    assert (found[unknown.pk].cost.unpriced, found[unknown.pk].cents) == ({"s-9vcpu-99gb"}, None)
    page = admin_client.get(reverse("admin:billing_margin"))
    assert "no price of s-9vcpu-99gb" in page.content.decode()
    settings.BILLING_DROPLET_PRICES = {"s-9vcpu-99gb": "9.50"}
    assert {each.app_id: each.cents for each in margin_of(MONTH).apps}[unknown.pk] == 50


def test_the_apps_of_one_cluster_are_shown_alone_and_nonsense_is_passed_over(admin_client: Client) -> None:
    here, there = make_pair(), make_pair()
    for app in (here, there):
        statement(app.team, MONTH, sold(app, 1000))
    page = reverse("admin:billing_margin")
    shown = admin_client.get(page, {"cluster": here.cluster_id}).content.decode()
    assert here.name in shown
    assert f">{there.name}<" not in shown
    for query in ({"cluster": "x"}, {"cluster": "9" * 40}, {"in_month": "2026-13"}, {"page": "-1"}):
        assert f">{there.name}<" in admin_client.get(page, query).content.decode()
    assert b"no statements of that month" in admin_client.get(page, {"in_month": "2024-01"}).content


def test_the_pages_ask_as_often_for_many_apps_as_for_few(admin_client: Client) -> None:
    pages = [reverse("admin:billing_revenue"), reverse("admin:billing_margin")]

    def asked(apps: int) -> list[int]:
        for _ in range(apps):
            app = make_pair()
            invoice(statement(app.team, MONTH, sold(app, 1000, 1000)))
            server(app, 0, JANUARY, None)
        counts = []
        for page in pages:
            with CaptureQueriesContext(connection) as queries:
                admin_client.get(page)
            counts.append(len(queries))
        return counts

    asked(1)
    few, many = asked(1), asked(20)
    assert few == many
    assert max(many) <= 13


def test_they_are_for_who_may_look_at_statements() -> None:
    staff = make_user(is_staff=True)
    client = Client()
    client.force_login(staff)
    pages = [reverse("admin:billing_revenue"), reverse("admin:billing_margin")]
    assert [client.get(page).status_code for page in pages] == [403, 403]
    staff.user_permissions.add(Permission.objects.get(codename="view_statement"))
    assert [client.get(page).status_code for page in pages] == [200, 200]
    client.logout()
    assert [client.get(page).status_code for page in pages] == [302, 302]


def _key(pk: Any) -> Any:
    return pk.hex if connection.vendor == "sqlite" else pk
