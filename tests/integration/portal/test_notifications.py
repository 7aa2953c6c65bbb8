"""What teams were told, on the pages: who sees it, what stays in sight, and who may put it away."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from egress.control.models import App, Assignment, Event, Gateway
from egress.control.models_told import Notification
from egress.control.selectors import egress_view
from egress.control.told import notices
from portal.web.timeline import timeline
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

Clients = Callable[[str], Client]
OLD, NEW = rows.ADDRESSES[0], "203.0.113.99"


@pytest.fixture
def told(crew: rows.Crew, app: App) -> Notification:
    rows.bring(app, "active", by=crew.owner)
    kind = Notification.Kind.ADDRESS_REPLACED
    return notices.notify(Assignment.objects.get(), kind, "address:1", old=OLD, new=NEW)


def page_of(client: Client, app: App) -> str:
    return client.get(reverse("web:app", args=[app.pk])).content.decode()


@pytest.mark.parametrize("who", ["owner", "member", "viewer"])
def test_teammates_see_what_was_told_strangers_do_not(client_of: Clients, told: Notification, who: str) -> None:
    url = reverse("web:notifications")
    assert told.subject in client_of(who).get(url).content.decode()
    assert told.subject not in client_of("outsider").get(url).content.decode()
    assert b"Nothing yet" in client_of("outsider").get(url).content
    assert client_of("anonymous").get(url).status_code == 302


def test_a_new_address_stays_on_the_apps_page_until_somebody_dealt_with_it(
    client_of: Clients, crew: rows.Crew, app: App, told: Notification
) -> None:
    text = page_of(client_of("viewer"), app)
    assert f"new address {NEW}, update your firewalls" in text
    assert f"take {OLD} out" in text
    assert "I have updated my firewalls" not in text, "a viewer looks, and changes nothing"

    client = client_of("member")
    assert "I have updated my firewalls" in page_of(client, app)
    url = reverse("web:seen", args=[told.pk])
    for who in ("member", "owner"):
        assert client_of(who).post(url).headers["Location"] == reverse("web:app", args=[app.pk])
    assert "update your firewalls" not in page_of(client, app)
    row = Notification.objects.get()
    assert row.seen_by == crew.member, "who was first stays"
    assert told.subject in client.get(reverse("web:notifications")).content.decode(), "the list keeps it"


@pytest.mark.parametrize(("who", "answer"), [("viewer", 403), ("outsider", 404), ("anonymous", 302)])
def test_others_put_nothing_away(client_of: Clients, told: Notification, who: str, answer: int) -> None:
    assert client_of(who).post(reverse("web:seen", args=[told.pk])).status_code == answer
    assert Notification.objects.get().seen_at is None


def test_looking_at_the_address_of_the_button_changes_nothing(client_of: Clients, told: Notification) -> None:
    assert client_of("owner").get(reverse("web:seen", args=[told.pk])).status_code == 405
    assert Notification.objects.get().seen_at is None


def test_news_of_a_pair_that_was_given_up_is_not_shown(client_of: Clients, app: App, told: Notification) -> None:
    Assignment.objects.update(wish="disabled")
    assert egress_view(app).address_news == ()
    assert "update your firewalls" not in page_of(client_of("owner"), app)


def test_an_app_with_a_hostile_name_writes_no_markup(client_of: Clients, app: App, told: Notification) -> None:
    Notification.objects.update(subject="<script>alert(1)</script>", text="<img src=x>\n\n<b>x</b>")
    for text in (page_of(client_of("owner"), app), client_of("owner").get("/notifications/").content.decode()):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "&lt;script&gt;" in text


def test_the_list_comes_in_pages(client_of: Clients, told: Notification) -> None:
    for number in range(30):
        notices.notify(Assignment.objects.get(), Notification.Kind.OUTAGE, f"outage:{number}", since=told.created_at)
    client, url = client_of("owner"), reverse("web:notifications")
    assert "Page 1 of 2" in client.get(url).content.decode()
    assert told.subject in client.get(url, {"page": "2"}).content.decode()


@pytest.mark.parametrize(
    ("subject", "old", "new", "words", "tone"),
    [
        ("assignment.standing", "whole", "outage", "Neither gateway can be used", "bad"),
        ("assignment.standing", "whole", "degraded", "New connections use one gateway alone", ""),
        ("assignment.standing", "outage", "whole", "Both gateways are in use again", "ok"),
        (
            "assignment.standing",
            "whole",
            "maintenance",
            "Planned work on a gateway begins, new connections use the other one",
            "",
        ),
        ("address.lost", OLD, "", f"Gateway A lost its server: take {OLD} out of firewalls", "bad"),
        (
            "gateway.replaced",
            OLD,
            NEW,
            f"Gateway A has a new address: {NEW} instead of {OLD}. Update your firewalls",
            "",
        ),
    ],
)
def test_history_in_plain_words(subject: str, old: str, new: str, words: str, tone: str) -> None:
    event = Event(subject=subject, old=old, new=new, reason="for operators", gateway=Gateway(slot=0))
    (entry,) = timeline([event])
    assert (entry.text, entry.tone) == (words, tone)
