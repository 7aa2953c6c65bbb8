"""Who owes is reminded, warned, disabled where that is chosen, and gets the same addresses back when it pays."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from pytest_django import Settings

from billing import tasks
from billing.collecting import account_of, collect, customers, mirror, paying, reminding, setup_session
from billing.models import Dunning, Invoice, Notice, NoticeMail, Refusal
from egress.control import clock
from egress.control.models import Assignment, AssignmentStatus, Event, Wish
from egress.control.services import egress_enable
from tests.factories import make_app, make_cluster, make_node
from tests.integration.control.cloud import FileCloud
from tests.integration.control.fleet import Fleet

from .killed import do
from .rows import FAILS_LATER, GOOD, make_payer, make_statement
from .stripe_side import StripeSide

pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(300)]
DAY = 86_400


@pytest.fixture
def strict(settings: Settings) -> Settings:
    """Disable 14 days after the failure at the earliest, 5 days after a warning, and hold for 10."""
    settings.BILLING_DISABLE_UNPAID = True
    settings.BILLING_REMINDER_DAYS = [0, 3]
    settings.BILLING_GRACE_DAYS, settings.BILLING_WARNING_DAYS, settings.BILLING_HOLD_DAYS = 14, 5, 10
    return settings


def failed_invoice(stripe_side: StripeSide) -> Invoice:
    invoice = collect(make_statement(make_payer(stripe_side, card=FAILS_LATER), 1_234))
    stripe_side.forward(hours=2)
    mirror.refresh(invoice)
    assert invoice.failed_at
    return invoice


def pay_with_another_card(stripe_side: StripeSide, invoice: Invoice) -> None:
    stripe_side.forward(seconds=5)
    url = setup_session(invoice.account.team, ("https://portal.example/ok", "https://portal.example/no"))
    stripe_side.take_down(url, GOOD)
    account = customers.customer_changed(account_of(invoice.account.team).stripe_customer, session=url.split("/")[-1])
    assert account
    paying.pay_failed(account)


def days(settings: Settings, number: float) -> None:
    """Go to that day after now; a look each minute does the same as two."""
    settings.CLOCK_OFFSET_SECONDS = int(number * DAY)
    for _ in range(2):
        tasks.remind()


def kinds() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("kind", flat=True))


@pytest.fixture
def fleet(stripe_side: StripeSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Fleet:
    """An app that works, of a team whose card fails."""
    monkeypatch.setenv("SGT_CLOUD", str(tmp_path / "cloud"))
    settings.EGRESS_PROVIDER = "tests.integration.control.cloud.from_environment"
    team = failed_invoice(stripe_side).account.team
    cluster = make_cluster()
    user = team.members.get()
    fleet = Fleet(
        cluster=cluster,
        app=make_app(team, cluster),
        user=user,
        cloud=FileCloud(tmp_path / "cloud"),
        nodes=[make_node(cluster)],
    )
    assert fleet.bring_up().status == AssignmentStatus.ACTIVE
    return fleet


def addresses(fleet: Fleet) -> list[str | None]:
    return [gateway.public_address for gateway in fleet.gateways()]


def test_reminders_come_on_their_days_once_by_mail_and_nothing_is_disabled_by_default(
    fleet: Fleet, settings: Settings
) -> None:
    settings.BILLING_REMINDER_DAYS = [0, 3]
    for day in (0, 0.5, 3, 3.5, 100):
        days(settings, day)
    assert kinds() == ["payment_failed", "payment_failed"]
    assert [message.to for message in mail.outbox] == [[fleet.user.email]] * 2
    assert "12.34 USD" in mail.outbox[0].subject
    assert Invoice.objects.get().number in mail.outbox[0].body
    assert fleet.assignment.wish == Wish.ENABLED


def test_after_a_warning_it_is_disabled_held_and_comes_back_with_its_addresses_once_paid(
    fleet: Fleet, stripe_side: StripeSide, strict: Settings
) -> None:
    had = addresses(fleet)
    days(strict, 0)
    days(strict, 9)
    assert kinds() == ["payment_failed", "disable_warning", "payment_failed"]
    dunning = Dunning.objects.get()
    assert dunning.warned_at
    assert dunning.told_date
    assert f"{dunning.told_date:%Y-%m-%d %H:%M}" in mail.outbox[1].body
    days(strict, 13.9)
    assert fleet.assignment.wish == Wish.ENABLED
    days(strict, 14.1)
    assert (fleet.assignment.wish, kinds()[-1]) == (Wish.DISABLED, "disabled")
    fleet.step()
    fleet.nodes_follow()
    for day in (14.2, 20, 23.9):
        days(strict, day)
        assert fleet.step().status == AssignmentStatus.DRAINING
    assert addresses(fleet) == had
    pay_with_another_card(stripe_side, Invoice.objects.get())
    days(strict, 23.95)
    assert kinds()[-1] == "paid"
    assert "get their dedicated addresses back" in Notice.objects.latest("pk").text
    fleet.boot_gateways()
    fleet.step()
    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.ACTIVE
    assert addresses(fleet) == had
    assert Dunning.objects.get().ended_at
    # Metering sees both.
    told = Event.objects.filter(subject__in=("egress.disable", "egress.enable"), actor=None).order_by("pk")
    assert list(told.values_list("subject", flat=True)) == ["egress.disable", "egress.enable"]


def test_when_the_hold_is_over_the_addresses_go(fleet: Fleet, strict: Settings) -> None:
    for day in (0, 9, 14.1):
        days(strict, day)
    fleet.step()
    fleet.nodes_follow()
    days(strict, 24.2)
    fleet.step()
    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.RELEASED


def test_paid_after_the_warning_nothing_is_disabled(fleet: Fleet, stripe_side: StripeSide, strict: Settings) -> None:
    for day in (0, 9):
        days(strict, day)
    pay_with_another_card(stripe_side, Invoice.objects.get())
    for day in (9.5, 14.1, 40):
        days(strict, day)
    assert kinds()[-1] == "paid"
    assert fleet.assignment.wish == Wish.ENABLED


def test_who_paid_is_not_disabled_because_a_webhook_was_lost(
    fleet: Fleet, stripe_side: StripeSide, strict: Settings
) -> None:
    for day in (0, 9):
        days(strict, day)
    invoice = Invoice.objects.get()
    stripe_side.client.v1.invoices.pay(invoice.stripe_id, {"paid_out_of_band": True})
    for day in (14.1, 14.2):
        days(strict, day)
    assert fleet.assignment.wish == Wish.ENABLED
    assert kinds()[-1] == "paid"


def test_nobody_is_disabled_while_stripe_can_not_be_asked(
    fleet: Fleet, stripe_side: StripeSide, strict: Settings
) -> None:
    for day in (0, 9):
        days(strict, day)
    stripe_side.away()
    days(strict, 14.1)
    assert fleet.assignment.wish == Wish.ENABLED
    stripe_side.away(is_away=False)
    days(strict, 14.2)
    assert fleet.assignment.wish == Wish.DISABLED


def test_without_a_warning_that_was_sent_nobody_is_ever_disabled(fleet: Fleet, strict: Settings) -> None:
    # Nobody listens there.
    strict.EMAIL_BACKEND, strict.EMAIL_HOST, strict.EMAIL_PORT = (
        "django.core.mail.backends.smtp.EmailBackend",
        "127.0.0.1",
        9,
    )
    for day in (0, 9, 14.1, 60):
        days(strict, day)
    assert "disable_warning" in kinds()
    assert fleet.assignment.wish == Wish.ENABLED
    # Its mails are given up: an operator is told, once.
    NoticeMail.objects.update(due_at=None)
    for day in (61, 62):
        days(strict, day)
    assert Refusal.objects.get().code == "not_delivered"
    assert fleet.assignment.wish == Wish.ENABLED


def test_what_is_enabled_while_it_owes_goes_too(fleet: Fleet, strict: Settings) -> None:
    # As if it had been asked for in the moment before: the policy on debts refuses it from then on.
    strict.EGRESS_ADMISSION = []
    for day in (0, 9, 14.1):
        days(strict, day)
    other = make_app(fleet.app.team, fleet.cluster)
    egress_enable(app=other, actor=fleet.user)
    days(strict, 15)
    assert not Assignment.objects.filter(wish=Wish.ENABLED).exists()


@pytest.mark.full
@pytest.mark.django_db(transaction=True)
def test_killed_at_each_point_it_disables_all_apps_and_tells_it_once(stripe_side: StripeSide, strict: Settings) -> None:
    invoice = failed_invoice(stripe_side)
    team, cluster = invoice.account.team, make_cluster()
    actor = team.members.get()
    apps = [make_app(team, cluster) for _ in range(2)]
    for number in range(1, 40):
        for app in apps:
            egress_enable(app=app, actor=actor)
        began = clock.now() - timedelta(days=30)
        dunning = Dunning.objects.create(
            account=invoice.account, began_at=began, told_date=began, warned_at=clock.now() - timedelta(days=20)
        )
        done = do("remind", die_at=number)
        assert done.error == ""
        assert do("remind").error == ""
        assert not Assignment.objects.filter(wish=Wish.ENABLED).exists()
        assert Notice.objects.filter(key=f"dunning-{dunning.pk}-disabled").count() == 1
        asked = Event.objects.filter(subject="egress.disable", actor=None)
        assert asked.count() == len(apps)
        asked.delete()
        Assignment.objects.update(status=AssignmentStatus.RELEASED)
        Dunning.objects.update(ended_at=clock.now())
        if not done.killed:
            assert number > 4
            return
    pytest.fail("more than 40 points")


def test_each_debtor_has_its_turn_however_many_never_pay(
    stripe_side: StripeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that owe for longest are looked at first once, not each time."""
    invoices = [failed_invoice(stripe_side) for _ in range(3)]
    monkeypatch.setattr(reminding, "BATCH", 3)
    reminding.look()
    Notice.objects.all().delete()
    monkeypatch.setattr(reminding, "BATCH", 1)
    for _ in invoices:
        reminding.look()
    assert {notice.team for notice in Notice.objects.all()} == {invoice.account.team for invoice in invoices}
