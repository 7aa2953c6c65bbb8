"""Mails over SMTP to a server on loopback: each arrives, once where nothing fails, else a bounded number of times."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from egress.control import clock, installation
from egress.control.models_told import Mail, Notification
from egress.control.told import mail as mailing
from egress.control.told import notices
from portal.accounts.models import Membership, User
from tests.factories import make_user
from tests.smtp import MailServer, mail_server

from .fleet import Fleet
from .processes import running, wait_for

SENDER = "import django; django.setup(); from egress.control.told.mail import send_due; send_due()"


@pytest.fixture
def server(settings: Settings) -> Iterator[MailServer]:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    with mail_server() as running_one:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", running_one.port
        yield running_one


def tell(fleet: Fleet, key: str = "lost:1") -> Notification:
    if not fleet.app.assignments.exists():
        fleet.bring_up()
    return notices.notify(fleet.assignment, Notification.Kind.ADDRESS_LOST, key, old="203.0.113.1")


def make_due() -> None:
    Mail.objects.filter(due_at__isnull=False).update(due_at=clock.unmoved() - timedelta(seconds=1))


def teammate(fleet: Fleet, email: str) -> User:
    person = make_user(email)
    Membership.objects.create(user=person, team=fleet.app.team)
    return person


def test_each_owner_and_member_gets_one_mail_of_their_own(fleet: Fleet, server: MailServer) -> None:
    other = teammate(fleet, "other@example.com")
    told = tell(fleet)
    for _ in range(3):
        mailing.send_due()
    assert sorted(people for people, _ in server.taken) == sorted([[fleet.user.email], [other.email]])
    for people, message in server.taken:
        assert [message["To"]] == people
        assert message["Subject"] == told.subject
        assert message["From"] == "Sluicegate <sluicegate@localhost>"
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["Bcc"] is None
        assert message.get_content_type() == "text/plain"
        assert "take 203.0.113.1 out of every firewall" in message.get_content()
    assert len(set(server.ids())) == 2
    for row in Mail.objects.all():
        assert (row.due_at, row.attempts, row.error) == (None, 1, "")
        assert row.sent_at is not None


def test_a_server_that_is_busy_is_asked_again_later_and_later(fleet: Fleet, server: MailServer) -> None:
    tell(fleet)
    server.busy = "451 later"
    pauses = []
    for _ in range(3):
        before = clock.unmoved()
        mailing.send_due()
        row = Mail.objects.get()
        assert row.due_at is not None
        pauses.append(round((row.due_at - before).total_seconds() / 30))
        make_due()
    assert pauses == [1, 2, 4]
    assert "451" in Mail.objects.get().error
    server.busy = ""
    mailing.send_due()
    assert len(server.taken) == 1
    assert (Mail.objects.get().due_at, Mail.objects.get().error) == (None, "")


def test_a_server_that_is_away_costs_no_mail(fleet: Fleet, server: MailServer, settings: Settings) -> None:
    tell(fleet)
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, 1
    mailing.send_due()
    assert "ConnectionRefusedError" in Mail.objects.get().error
    settings.EMAIL_PORT = port
    make_due()
    mailing.send_due()
    assert len(server.taken) == 1


def test_one_whom_the_server_refuses_holds_up_nobody_and_is_given_up(fleet: Fleet, server: MailServer) -> None:
    refused = teammate(fleet, "gone@example.com")
    server.refusals[refused.email] = "550 no such person"
    tell(fleet)
    for _ in range(mailing.MAX_ATTEMPTS + 3):
        mailing.send_due()
        make_due()
    assert [people for people, _ in server.taken] == [[fleet.user.email]]
    row = Mail.objects.get(user=refused)
    assert (row.due_at, row.sent_at, row.attempts) == (None, None, mailing.MAX_ATTEMPTS)
    assert "550" in row.error


def test_an_address_that_makes_no_header_is_given_up_and_adds_none(fleet: Fleet, server: MailServer) -> None:
    bad = teammate(fleet, "bad@example.com")
    User.objects.filter(pk=bad.pk).update(email="bad@example.com\r\nBcc: everybody@example.com")
    tell(fleet)
    mailing.send_due()
    assert [people for people, _ in server.taken] == [[fleet.user.email]]
    assert Mail.objects.get(user=bad).due_at is None


def test_a_subject_with_a_line_end_adds_no_header(fleet: Fleet, server: MailServer) -> None:
    told = tell(fleet)
    Notification.objects.filter(pk=told.pk).update(subject="x\r\nBcc: everybody@example.com")
    mailing.send_due()
    assert server.taken == []
    assert "newline" in Mail.objects.get().error.lower()


def test_who_left_the_team_or_may_only_look_by_then_gets_none(fleet: Fleet, server: MailServer) -> None:
    left, demoted, closed = (teammate(fleet, f"{name}@example.com") for name in ("left", "demoted", "closed"))
    tell(fleet)
    Membership.objects.filter(user=left).delete()
    Membership.objects.filter(user=demoted).update(role="viewer")
    User.objects.filter(pk=closed.pk).update(is_active=False)
    mailing.send_due()
    assert [people for people, _ in server.taken] == [[fleet.user.email]]
    assert not Mail.objects.filter(due_at__isnull=False).exists()


def test_nothing_is_sent_while_the_installation_stands_still(fleet: Fleet, server: MailServer) -> None:
    tell(fleet)
    installation.hold(reason="a test")
    mailing.send_due()
    assert server.taken == []
    installation.resume()
    mailing.send_due()
    assert len(server.taken) == 1


@pytest.mark.costly
@pytest.mark.django_db(transaction=True)
def test_a_worker_that_dies_between_sending_and_noting_costs_one_more_mail_at_most(
    fleet: Fleet, server: MailServer, tmp_path: Path
) -> None:
    tell(fleet)
    command = [sys.executable, "-c", SENDER]
    environment = {"EMAIL_URL": server.url, "DJANGO_SETTINGS_MODULE": "portal.config.settings"}
    server.answers.clear()
    with running(command, tmp_path / "sender.log", **environment) as process:
        wait_for(lambda: server.taken, "the message is taken")
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    server.answers.set()
    row = Mail.objects.get()
    assert (row.sent_at, row.attempts) == (None, 1)

    mailing.send_due()
    assert len(server.taken) == 1, "it is the dead worker's until its time is over"
    make_due()
    for _ in range(3):
        mailing.send_due()
    assert len(server.taken) == 2
    assert len(set(server.ids())) == 1, "both bear one Message-ID"
    assert Mail.objects.get().sent_at is not None


@pytest.mark.costly
@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_send_each_mail_once(fleet: Fleet, server: MailServer, tmp_path: Path) -> None:
    for number in range(20):
        tell(fleet, f"lost:{number}")
    command = [sys.executable, "-c", SENDER]
    environment = {"EMAIL_URL": server.url, "DJANGO_SETTINGS_MODULE": "portal.config.settings"}
    with ExitStack() as stack:
        both = [
            stack.enter_context(running(command, tmp_path / f"sender-{number}.log", **environment))
            for number in range(2)
        ]
        for process in both:
            assert process.wait(60) == 0
    mailing.send_due()
    assert len(server.taken) == len(set(server.ids())) == 20
