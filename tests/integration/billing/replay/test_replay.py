"""What may be played where; that it can be interrupted; what it leaves; and what Stripe gets of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from pytest_django import Settings

from billing.metering import close
from billing.models import Invoice, Price, Replay, Statement, StatementLine, TrafficRecord, UsageRecord
from billing.replay.errors import ReplayDisturbed, ReplayRefused
from billing.replay.plot import plot_of
from billing.replay.run import replay
from egress.control import clock, installation
from egress.control.models import Assignment, Event, Gateway, Node
from tests.factories import make_user
from tests.integration.billing.collecting.stripe_side import KEY, SECRET, StripeSide, never_hurry, running_stripe
from tests.integration.billing.metering.history import make_assignment

ROOT = Path(__file__).resolve().parents[4]
JANUARY = date(2024, 1, 1)
SMALL: dict[str, Any] = {"seed": 7, "first": JANUARY, "count": 1, "apps": 2}

#: The engines are held against each other by `test_by_hand`.
pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(600)]
never_hurry()


def rows() -> list[tuple[object, ...]]:
    """Return all that came of a history, without the ids that are made up anew."""
    ledgers = ("assignment__app__name", "hour", "slot", "sequence", "reason", "recorded_at")
    used = UsageRecord.objects.order_by(*ledgers).values_list(*ledgers, "seconds", "outage_seconds")
    sent = TrafficRecord.objects.order_by(*ledgers).values_list(*ledgers, "sent_bytes")
    stated = ("statement__team__slug", "statement__month", "statement__made_at", "position", "description", "cents")
    lines = StatementLine.objects.order_by(*stated).values_list(*stated)
    happened = Event.objects.order_by("pk").values_list("at", "subject", "old", "new", "app__name")
    return [*used, *sent, *lines, *happened]


def test_the_same_seed_gives_the_same_history_also_with_interruptions() -> None:
    with transaction.atomic():
        replay(**SMALL)
        whole = rows()
        transaction.set_rollback(True)

    for day in (date(2024, 1, 3), date(2024, 1, 4), date(2024, 1, 20), date(2024, 2, 2)):
        with pytest.raises(Interrupted):
            replay(**SMALL, say=interrupted_on(day))
    replay(**SMALL)
    assert rows() == whole


class Interrupted(Exception):
    pass


def interrupted_on(day: date) -> Callable[[datetime], None]:
    def say(done: datetime) -> None:
        if done.date() == day:
            raise Interrupted

    return say


def test_another_seed_gives_another_history() -> None:
    plots = [plot_of(seed=seed, first=JANUARY, count=1, apps=2) for seed in (1, 1, 2)]
    assert plots[0] == plots[1] != plots[2]


def test_the_command_says_what_came_of_each_month_and_leaves_nothing_to_look_after(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    owner, asked = make_user("mira@northwind.example"), list(settings.EGRESS_ADMISSION)
    # A meter that counted nothing doesn't stand in the way.
    close.close_hours()
    given = ["--months", "1", "--apps", "2", "--seed", "7", "--first", "2024-01", "--owner", owner.email]
    call_command("billing_replay", *given)
    said = capsys.readouterr().out
    header, month = said.splitlines()
    assert header.split()[:2] == ["month", "apps"]
    total = sum(Statement.objects.values_list("total_cents", flat=True))
    assert month.split()[0] == "2024-01"
    assert f"{total / 100:.2f}" in month.split()

    assert Assignment.objects.exists()
    assert not Assignment.objects.exclude(status="released", due_at=None).exists()
    assert not Gateway.objects.exclude(provisioning_status="deleted").exists()
    assert not Node.objects.filter(status="live").exists()
    assert Price.objects.filter(cluster=None).count() == 1, "other clusters keep their price"
    assert owner.memberships.count() == 1
    assert settings.EGRESS_ADMISSION == asked != []

    count = UsageRecord.objects.count()
    call_command("billing_replay", *given)
    assert capsys.readouterr().out == said
    assert UsageRecord.objects.count() == count
    with pytest.raises(ReplayRefused, match="has a history already: 1 months from 2024-01 on, 2 apps, seed 7"):
        replay(**{**SMALL, "seed": 8})


def test_only_a_lab_is_played_in(settings: Settings) -> None:
    settings.DIGITALOCEAN_API_URL = "https://api.digitalocean.com"
    with pytest.raises(CommandError, match=r"provider is api.digitalocean.com, so it is no lab"):
        call_command("billing_replay")
    settings.DIGITALOCEAN_API_URL = "https://127.0.0.1:8443"
    settings.STRIPE_SECRET_KEY = "sk_live_made_up"
    with pytest.raises(CommandError, match="collects through Stripe itself"):
        call_command("billing_replay")
    assert not Replay.objects.exists()


def test_made_up_history_and_real_assignments_do_not_mix() -> None:
    make_assignment()
    with pytest.raises(CommandError, match=r"in use here \(1 assignments\)"):
        call_command("billing_replay")
    assert not Replay.objects.exists()


def test_an_interrupted_history_does_not_go_on_beside_real_assignments() -> None:
    with pytest.raises(Interrupted):
        replay(**SMALL, say=interrupted_on(date(2024, 1, 3)))
    make_assignment()
    with pytest.raises(ReplayRefused, match="in use here"):
        replay(**SMALL)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--months", "0"], "Between 1 and 36 months"),
        (["--apps", "10001"], "1 to 10000 apps"),
        (["--first", f"{datetime.now(UTC):%Y-%m}"], "aren't over yet"),
        (["--first", "2024-13"], "month"),
        (["--owner", "nobody@example.com"], "no user nobody@example.com"),
    ],
)
def test_what_cannot_be_played_is_refused_in_words(given: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("billing_replay", *given)
    assert not Replay.objects.exists()


def test_an_installation_that_stands_still_plays_nothing() -> None:
    installation.hold(reason="a backup was restored", actor=None)
    with pytest.raises(ReplayRefused, match="a backup was restored"):
        replay(**SMALL)


def test_workers_that_meter_meanwhile_are_noticed() -> None:
    def work(day: datetime) -> None:
        if day.day == 5:
            with clock.playing(day + timedelta(days=3)):
                close.close_hours()

    with pytest.raises(ReplayDisturbed, match="workers meter here, too"):
        replay(**SMALL, say=work)


def test_the_clock_stands_only_while_a_scene_is_played(settings: Settings) -> None:
    settings.CLOCK_OFFSET_SECONDS = 3_600
    moment = datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=UTC)
    with clock.playing(moment):
        assert clock.now() == moment
        assert clock.unmoved() == moment - timedelta(hours=1)
    assert clock.now() > moment + timedelta(days=365)


# --- Stripe ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stripe_side(tmp_path: Path, settings: Settings) -> Iterator[StripeSide]:
    with running_stripe(tmp_path / "state") as running:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = KEY, SECRET
        settings.STRIPE_API_URL = running.url
        yield running


def test_stripe_gets_each_statement_as_one_invoice_equal_to_the_cent(stripe_side: StripeSide) -> None:
    replay(**{**SMALL, "apps": 5})
    statements = Statement.objects.filter(total_cents__gt=0)
    assert statements.count() == 2
    for statement in statements.select_related("team__billing_account", "invoice"):
        customer = statement.team.billing_account.stripe_customer
        found = [each for each in stripe_side.invoices(customer) if each.metadata["statement"] == str(statement.pk)]
        assert [each.total for each in found] == [statement.total_cents]
        assert stripe_side.items(found[0].id) == {
            str(line.pk): line.cents for line in statement.lines.all() if line.cents
        }
        assert statement.invoice.stripe_id == found[0].id
    assert Invoice.objects.filter(error_code="").count() == Statement.objects.count()


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_replay_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    def play(database: str, *, kill_after: float = 0) -> str:
        environment = {
            **os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/{database}", "SLUICEGATE_STATE_DIR": str(tmp_path),
            "SECRET_KEY": "made-up", "DIGITALOCEAN_API_URL": "https://127.0.0.1:8443",
        }  # fmt: skip
        given = ["--months", "2", "--apps", "4", "--first", "2024-01"]
        command = [sys.executable, "manage.py", "billing_replay", *given]
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        if kill_after:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=300)
        return said

    whole = play("whole.sqlite3")
    assert "2024-02" in whole
    for tenths in range(12, 40, 4):
        play("killed.sqlite3", kill_after=tenths / 10)
    assert play("killed.sqlite3") == whole
