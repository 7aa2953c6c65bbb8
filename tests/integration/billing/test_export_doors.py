"""Who gets which export: page, API, admin, command; and what bad requests are told."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.test import AsyncClient, Client
from django.urls import reverse

from billing.exports.response import ExportResponse
from billing.exports.selection import Format
from billing.models import Statement
from portal.accounts.models import ApiToken, Role, Team, User
from tests.factories import make_team, make_user
from tests.integration.billing.exports_made import price, whole_month

pytestmark = [pytest.mark.django_db, pytest.mark.costly]

OCTOBER = {"month": "2026-10"}


@pytest.fixture
def ours(db: None) -> Statement:
    price()
    return whole_month(make_team(make_user("mira@northwind.example"), slug="northwind"))


@pytest.fixture
def theirs(ours: Statement) -> Statement:
    return whole_month(make_team(make_user("mallory@elsewhere.example"), slug="elsewhere"))


def logged_in(email: str = "mira@northwind.example") -> Client:
    client = Client()
    client.force_login(User.objects.get(email=email))
    return client


def with_token(team: str = "northwind", *, can_operate: bool = False) -> Client:
    _, token = ApiToken.issue(
        team=Team.objects.get(slug=team), name="ci", created_by=None, can_write=False, can_operate=can_operate
    )
    return Client(headers={"Authorization": f"Token {token}"})


def teams_in(response: Any) -> set[str]:
    assert response.status_code == 200, response.content
    text = b"".join(response.streaming_content).decode()
    return {row["team"] for row in csv.DictReader(io.StringIO(text, newline=""))}


@pytest.mark.parametrize("role", Role)
def test_every_member_downloads_the_own_teams_month(ours: Statement, theirs: Statement, role: Role) -> None:
    ours.team.memberships.update(role=role)

    response = logged_in().get(reverse("web:export"), {**OCTOBER, "format": "csv"})

    assert response.headers["Content-Disposition"] == 'attachment; filename="usage-2026-10-day.csv"'
    assert "no-store" in response.headers["Cache-Control"]
    assert teams_in(response) == {"northwind"}


def test_a_stranger_is_sent_to_log_in(ours: Statement) -> None:
    assert Client().get(reverse("web:export"), OCTOBER).headers["Location"].startswith(reverse("web:login"))


@pytest.mark.parametrize("slug", ["elsewhere", "nobody", "a\0b"])
def test_another_teams_export_is_not_found(ours: Statement, theirs: Statement, slug: str) -> None:
    response = logged_in().get(reverse("web:export"), {**OCTOBER, "team": slug})

    assert response.status_code == 404
    assert b"no such team among yours" in response.content


def test_who_is_in_two_teams_names_one(ours: Statement, theirs: Statement) -> None:
    theirs.team.memberships.create(user=User.objects.get(email="mira@northwind.example"))

    assert logged_in().get(reverse("web:export"), OCTOBER).status_code == 404
    assert teams_in(logged_in().get(reverse("web:export"), {**OCTOBER, "team": "elsewhere"})) == {"elsewhere"}


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        ({}, "month_unknown", "YYYY-MM"),
        ({"month": "2026-13"}, "month_unknown", "YYYY-MM"),
        ({"month": "October"}, "month_unknown", "YYYY-MM"),
        ({"month": "2026-1\u0660"}, "month_unknown", "YYYY-MM"),
        ({"month": "2099-01"}, "month_in_future", "begun"),
        ({**OCTOBER, "format": "xlsx"}, "format_unknown", "csv, jsonl or focus"),
        ({**OCTOBER, "grain": "week"}, "grain_unknown", "hour or day"),
    ],
)
def test_bad_requests_are_told_what_to_do(ours: Statement, asked: dict[str, str], code: str, told: str) -> None:
    page = logged_in().get(reverse("web:export"), asked)
    answer = with_token().get("/api/v1/billing/export", asked)

    assert (page.status_code, answer.status_code) == (400, 400)
    assert told in page.content.decode()
    assert answer.json()["code"] == code
    assert told in answer.json()["message"]


@pytest.mark.parametrize("name", ["nowhere", "a\0b"])
def test_an_unknown_cluster_is_not_found(ours: Statement, name: str) -> None:
    answer = with_token().get("/api/v1/billing/export", {**OCTOBER, "cluster": name})

    assert (answer.status_code, answer.json()["code"]) == (404, "cluster_unknown")


def test_a_token_gets_its_own_team_only(ours: Statement, theirs: Statement) -> None:
    answer = with_token().get("/api/v1/billing/export", {**OCTOBER, "team": "elsewhere"})

    assert teams_in(answer) == {"northwind"}


def test_the_api_needs_a_token(ours: Statement) -> None:
    assert Client().get("/api/v1/billing/export", OCTOBER).status_code == 401
    assert logged_in().get("/api/v1/billing/export", OCTOBER).status_code == 401


@pytest.mark.parametrize("accept", ["text/csv", "application/json", "*/*"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "focus"])
def test_the_api_answers_in_the_format_asked_for(ours: Statement, form: str, accept: str) -> None:
    answer = with_token().get("/api/v1/billing/export", {**OCTOBER, "format": form}, headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == ("application/x-ndjson" if form == "jsonl" else "text/csv; charset=utf-8")
    assert b"".join(answer.streaming_content).startswith({"csv": b"status,", "jsonl": b"{", "focus": b"BillingA"}[form])


def test_an_operator_gets_all_teams_or_one(ours: Statement, theirs: Statement) -> None:
    operator = with_token(can_operate=True)

    assert teams_in(operator.get("/api/v1/operator/billing/export", OCTOBER)) == {"northwind", "elsewhere"}
    one = operator.get("/api/v1/operator/billing/export", {**OCTOBER, "team": "elsewhere"})
    assert teams_in(one) == {"elsewhere"}
    nobody = operator.get("/api/v1/operator/billing/export", {**OCTOBER, "team": "nobody"})
    assert (nobody.status_code, nobody.json()["code"]) == (404, "team_unknown")


def test_a_customers_token_is_no_operators(ours: Statement) -> None:
    assert with_token().get("/api/v1/operator/billing/export", OCTOBER).status_code == 403


def test_admin_exports_the_chosen_statements(ours: Statement, theirs: Statement, admin_client: Client) -> None:
    page = reverse("admin:billing_statement_changelist")

    response = admin_client.post(page, {"action": "export_csv", "_selected_action": [str(theirs.pk)]})

    assert teams_in(response) == {"elsewhere"}


@pytest.mark.parametrize("what", ["export_csv", "export_jsonl", "export_focus", "export_focus_hourly"])
def test_admin_exports_in_every_format(ours: Statement, theirs: Statement, admin_client: Client, what: str) -> None:
    chosen = [str(ours.pk), str(theirs.pk)]

    response = admin_client.post(
        reverse("admin:billing_statement_changelist"), {"action": what, "_selected_action": chosen}
    )

    text = b"".join(response.streaming_content).decode()
    assert all(pk in text for pk in chosen)


def test_statements_are_looked_at_and_not_changed_in_the_admin(ours: Statement, admin_client: Client) -> None:
    page = reverse("admin:billing_statement_change", args=[ours.pk])

    assert b"$12.80" in admin_client.get(reverse("admin:billing_statement_changelist")).content
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"total_cents": 1}).status_code == 403


def test_command_writes_what_the_page_sends(ours: Statement, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "october.csv"

    call_command("export_usage", month="2026-10", format="csv", team="northwind", out=out)

    assert out.read_bytes() == b"".join(logged_in().get(reverse("web:export"), OCTOBER).streaming_content)
    assert [path.name for path in tmp_path.iterdir()] == ["october.csv"]
    assert capsys.readouterr().err == "8 rows, 12.800000 USD\n"


def test_command_writes_to_standard_output(ours: Statement, capsys: Any) -> None:
    call_command("export_usage", month="2026-10", format="jsonl", grain="hour")

    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2 * 30 + 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"month": "2099-01"}, "hasn't begun"),
        ({"month": "10/2026"}, "YYYY-MM"),
        ({"team": "nobody"}, "no team nobody"),
        ({"cluster": "nowhere"}, "no such cluster"),
        ({"out": Path("/nowhere/at/all.csv")}, "No such file or directory"),
    ],
)
def test_command_says_what_is_wrong(ours: Statement, options: dict[str, Any], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        call_command("export_usage", **{"month": "2026-10", "format": "csv", **options})


def test_asgi_sends_the_same_bytes(ours: Statement) -> None:
    async def download() -> bytes:
        client = AsyncClient()
        await client.aforce_login(await User.objects.aget(email="mira@northwind.example"))
        return b"".join([chunk async for chunk in await client.get(reverse("web:export"), OCTOBER)])

    assert async_to_sync(download)() == b"".join(logged_in().get(reverse("web:export"), OCTOBER).streaming_content)


def test_under_asgi_each_chunk_is_made_when_the_one_before_is_sent() -> None:
    made = []

    def chunks() -> Iterator[bytes]:
        for number in range(9):
            made.append(number)
            yield b"%d" % number

    async def read() -> None:
        response = ExportResponse(chunks(), Format.CSV, "nine.csv", whose="a team")
        async for chunk in response:
            assert made[-1] == int(chunk)

    async_to_sync(read)()
    assert len(made) == 9
