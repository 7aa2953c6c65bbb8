"""How many exports are sent at once: of a team, and of all; and that each makes room when it ends, however it does."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.core import signals
from django.db import close_old_connections
from django.test import Client
from django.urls import reverse

from billing.exports import room
from billing.exports.errors import ExportBusy
from billing.exports.response import ExportResponse
from billing.exports.selection import Format
from billing.models import Statement
from portal.accounts.models import ApiToken, User
from tests.factories import make_team, make_user
from tests.integration.billing.exports_made import price, whole_month

pytestmark = [pytest.mark.django_db, pytest.mark.costly]
OCTOBER = {"month": "2026-10"}
API = "/api/v1/billing/export"


@pytest.fixture
def ours(db: None) -> Statement:
    price()
    return whole_month(make_team(make_user("mira@northwind.example"), slug="northwind"))


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    assert not room._under_way, "an earlier test's export never ended"
    yield
    room._under_way.clear()


def page() -> Client:
    client = Client()
    client.force_login(User.objects.get(email="mira@northwind.example"))
    return client


def program(statement: Statement) -> Client:
    _, token = ApiToken.issue(team=statement.team, name="ci", created_by=None, can_write=False)
    return Client(headers={"Authorization": f"Token {token}"})


def leave(answer: Any) -> None:
    """Close an answer as a server does whose reader went away; the test's own connections stay."""
    signals.request_finished.disconnect(close_old_connections)
    try:
        answer.close()
    finally:
        signals.request_finished.connect(close_old_connections)


def begin(client: Client, path: str, **more: str) -> Any:
    return client.get(path, {**OCTOBER, **more})


def test_a_team_has_two_at_once_by_page_and_api_together(ours: Statement) -> None:
    first, second = begin(page(), reverse("web:export")), begin(program(ours), API)
    assert (first.status_code, second.status_code) == (200, 200)

    shown, told = begin(page(), reverse("web:export")), begin(program(ours), API)
    assert (shown.status_code, told.status_code) == (429, 429)
    assert (shown.headers["Retry-After"], told.headers["Retry-After"]) == ("30", "30")
    assert "2 exports of yours are being sent already" in shown.content.decode()
    assert told.json()["code"] == "export_busy"

    # Read to its end by one; given up by the other.
    b"".join(first.streaming_content)
    again = begin(page(), reverse("web:export"))
    leave(second)
    third = begin(program(ours), API)
    answers = (again, third, begin(program(ours), API))
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    # And by a third before its first byte: nobody closes that.
    del third, answers
    gc.collect()
    assert begin(program(ours), API).status_code == 200


def test_other_teams_are_not_held_up_before_all_room_is_taken(ours: Statement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "OF_A_PROCESS", 3)
    ends = [begin(program(ours), API), begin(program(ours), API)]
    other = whole_month(make_team(make_user("mallory@elsewhere.example"), slug="elsewhere"))
    ends.append(begin(program(other), API))
    assert [answer.status_code for answer in ends] == [200, 200, 200]
    busy = begin(program(other), API)
    assert (busy.status_code, "Many exports are being sent" in busy.json()["message"]) == (429, True)


def test_what_is_refused_or_fails_takes_no_room(ours: Statement) -> None:
    for _ in range(3):
        assert begin(program(ours), API, format="xlsx").status_code == 400

    def broken() -> Iterator[bytes]:
        raise ValueError("no row")
        yield b""

    for _ in range(3):
        with pytest.raises(ValueError, match="no row"):
            ExportResponse(broken(), Format.CSV, "x.csv", whose=str(ours.team_id))
    assert begin(program(ours), API).status_code == 200


def test_one_that_nobody_reads_to_its_end_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [room.Place("a team") for _ in range(room.OF_A_TEAM)]
    with pytest.raises(ExportBusy):
        room.Place("a team")
    now = room.monotonic()
    monkeypatch.setattr(room, "monotonic", lambda: now + room.HELD_SECONDS)
    later = room.Place("a team")
    # The old ones end after all, and take nothing away from the new one.
    for place in places:
        place.leave()
    assert later in room._under_way


def test_operators_see_it_in_the_list(ours: Statement, admin_client: Client, admin_user: AbstractUser) -> None:
    for _ in range(room.OF_A_TEAM):
        room.Place("operators")
    url = reverse("admin:billing_statement_changelist")
    answer = admin_client.post(url, {"action": "export_csv", "_selected_action": [str(ours.pk)]}, follow=True)
    assert "exports of yours are being sent already" in answer.content.decode()
