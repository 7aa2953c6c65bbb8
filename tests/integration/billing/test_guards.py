"""Guards: who may enable, how many, for how much; asked by the services, as people and programs meet them."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_django import Settings

from billing.guards.errors import InvoicesUnpaid, PaymentMethodNeeded, QuotaReached
from billing.models import BillingAccount, Dunning
from egress.control import clock
from egress.control.models import App, Assignment, AssignmentStatus, Cluster, Event
from egress.control.services import egress_disable, egress_enable, enable_refusal
from portal.accounts.models import Role, Team, User
from tests.factories import make_app, make_cluster, make_team, make_user
from tests.integration.control.processes import running, wait_for

pytestmark = pytest.mark.django_db
STRIPE = "sk_test_guards"


@pytest.fixture
def owner() -> User:
    return make_user()


@pytest.fixture
def team(owner: User) -> Team:
    return make_team(owner, role=Role.OWNER)


@pytest.fixture
def cluster() -> Cluster:
    return make_cluster()


def apps(team: Team, cluster: Cluster, count: int) -> list[App]:
    return [make_app(team, cluster) for _ in range(count)]


def pay(team: Team, **fields: object) -> BillingAccount:
    values = {"first_paid_at": clock.now(), "payment_method": "pm_1", **fields}
    return BillingAccount.objects.update_or_create(team=team, defaults=values)[0]


def test_quota_is_low_until_the_first_payment(team: Team, cluster: Cluster, owner: User, settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY, settings.BILLING_QUOTA_BEFORE_PAYMENT = STRIPE, 2
    first, second, third = apps(team, cluster, 3)
    pay(team, first_paid_at=None)
    egress_enable(app=first, actor=owner)
    egress_enable(app=second, actor=owner)
    before = Event.objects.count()

    with pytest.raises(QuotaReached) as refused:
        egress_enable(app=third, actor=owner)

    assert "for 2 apps, and may have 2" in str(refused.value)
    assert "rises with the team's first payment" in str(refused.value)
    assert refused.value.code == "quota_reached"
    assert Event.objects.count() == before
    pay(team)
    egress_enable(app=third, actor=owner)
    assert Assignment.objects.count() == 3


def test_a_payment_by_a_card_that_was_stolen_raises_no_quota(
    team: Team, cluster: Cluster, owner: User, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY, settings.BILLING_QUOTA_BEFORE_PAYMENT = STRIPE, 1
    first, second = apps(team, cluster, 2)
    account = pay(team)
    dispute = account.movements.create(
        stripe_id="du_1", kind="dispute", currency="USD", cents=500, status="lost", reason="fraudulent",
        happened_at=clock.now(),
    )  # fmt: skip
    egress_enable(app=first, actor=owner)
    with pytest.raises(QuotaReached, match="may have 1"):
        egress_enable(app=second, actor=owner)
    # Unless the bank denies it; and an operator who knows the team says so by its own quota.
    account.movements.update(status="won")
    assert enable_refusal(app=second, actor=owner) is None
    account.movements.filter(pk=dispute.pk).update(status="needs_response")
    assert enable_refusal(app=second, actor=owner)
    pay(team, quota=5)
    egress_enable(app=second, actor=owner)


def test_what_was_disabled_for_debts_is_not_enabled_before_they_are_paid(
    team: Team, cluster: Cluster, owner: User
) -> None:
    (app,) = apps(team, cluster, 1)
    dunning = Dunning.objects.create(account=pay(team))
    # Who is only reminded goes on.
    assert enable_refusal(app=app, actor=owner) is None
    Dunning.objects.filter(pk=dunning.pk).update(disabled_at=clock.now())
    with pytest.raises(InvoicesUnpaid, match="Pay them under Billing"):
        egress_enable(app=app, actor=owner)
    Dunning.objects.filter(pk=dunning.pk).update(ended_at=clock.now())
    egress_enable(app=app, actor=owner)


def test_without_stripe_there_is_no_first_payment_to_wait_for(
    team: Team, cluster: Cluster, owner: User, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY, settings.BILLING_QUOTA_BEFORE_PAYMENT, settings.BILLING_QUOTA = "", 1, 2
    first, second, third = apps(team, cluster, 3)
    egress_enable(app=first, actor=owner)
    egress_enable(app=second, actor=owner)
    with pytest.raises(QuotaReached) as refused:
        egress_enable(app=third, actor=owner)
    assert "payment" not in str(refused.value)
    settings.BILLING_QUOTA = 0
    egress_enable(app=third, actor=owner)


@pytest.mark.parametrize(("own", "installation"), [(1, 5), (5, 1)])
def test_an_accounts_own_quota_comes_first(
    team: Team, cluster: Cluster, owner: User, settings: Settings, own: int, installation: int
) -> None:
    settings.BILLING_QUOTA = installation
    pay(team, quota=own)
    for app in apps(team, cluster, own):
        egress_enable(app=app, actor=owner)
    with pytest.raises(QuotaReached):
        egress_enable(app=make_app(team, cluster), actor=owner)


def test_a_quota_of_zero_enables_nothing(team: Team, cluster: Cluster, owner: User) -> None:
    pay(team, quota=0)
    with pytest.raises(QuotaReached, match="for 0 apps, and may have 0"):
        egress_enable(app=make_app(team, cluster), actor=owner)


def test_another_teams_apps_dont_count(team: Team, cluster: Cluster, owner: User, settings: Settings) -> None:
    settings.BILLING_QUOTA = 1
    stranger = make_user()
    egress_enable(app=make_app(make_team(stranger), cluster), actor=stranger)
    egress_enable(app=make_app(team, cluster), actor=owner)


def test_what_is_being_disabled_counts_until_its_servers_are_gone(
    team: Team, cluster: Cluster, owner: User, settings: Settings
) -> None:
    settings.BILLING_QUOTA = 1
    first, second = apps(team, cluster, 2)
    assignment = egress_enable(app=first, actor=owner)
    egress_disable(app=first, actor=owner)
    with pytest.raises(QuotaReached, match="1 of them is being disabled: wait"):
        egress_enable(app=second, actor=owner)
    Assignment.objects.filter(pk=assignment.pk).update(status=AssignmentStatus.RELEASED)
    egress_enable(app=second, actor=owner)


def test_enabling_again_what_is_enabled_is_no_matter_of_quota(
    team: Team, cluster: Cluster, owner: User, settings: Settings
) -> None:
    settings.BILLING_QUOTA = 1
    app = make_app(team, cluster)
    first = egress_enable(app=app, actor=owner)
    assert egress_enable(app=app, actor=owner) == first


ENABLE = """
import django, sys, time, threading
django.setup()
from pathlib import Path
from django.db import connection
from egress.control.models import App
from egress.control.errors import EgressError
from egress.control.services import egress_enable
from portal.accounts.models import User
from portal.config import celery_app
celery_app.conf.update(broker_url="memory://localhost", broker_transport_options={})
folder, number, owner, *names = sys.argv[1:]
owner = User.objects.get(pk=owner)
ready, go = Path(folder, f"ready-{number}"), Path(folder, "go")
apps = list(App.objects.filter(pk__in=names).select_related("cluster"))
said = []
def enable(app):
    while not go.exists():
        time.sleep(0.005)
    try:
        egress_enable(app=app, actor=owner)
        said.append("enabled")
    except EgressError as error:
        said.append(error.code)
    finally:
        connection.close()
threads = [threading.Thread(target=enable, args=[app]) for app in apps]
for thread in threads: thread.start()
ready.touch()
for thread in threads: thread.join()
print(" ".join(said))
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(240)
def test_of_fifty_enables_at_once_no_more_than_the_quota_come_through(
    team: Team, cluster: Cluster, owner: User, tmp_path: Path
) -> None:
    """Two processes with 25 threads each: what one counts, the other may be about to change."""
    pay(team, quota=7)
    wanted = [str(app.pk) for app in apps(team, cluster, 50)]
    environment = {"DJANGO_SETTINGS_MODULE": "portal.config.settings"}
    logs = [tmp_path / f"enabler-{number}.log" for number in range(2)]
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                running(
                    [sys.executable, "-c", ENABLE, str(tmp_path), str(number), str(owner.pk), *wanted[number::2]],
                    log,
                    **environment,
                )
            )
            for number, log in enumerate(logs)
        ]
        wait_for(lambda: all((tmp_path / f"ready-{number}").exists() for number in range(2)), "both are ready")
        (tmp_path / "go").touch()
        assert [process.wait(120) for process in both] == [0, 0]

    said = " ".join(log.read_text() for log in logs).split()
    assert (said.count("enabled"), said.count("quota_reached")) == (7, 43)
    assert Assignment.objects.count() == 7


def test_a_payment_method_is_needed_where_stripe_collects(
    team: Team, cluster: Cluster, owner: User, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY, app = STRIPE, make_app(team, cluster)
    with pytest.raises(PaymentMethodNeeded, match="adds one under Billing"):
        egress_enable(app=app, actor=owner)
    assert not Assignment.objects.exists()
    BillingAccount.objects.create(team=team, payment_method="pm_1")
    egress_enable(app=app, actor=owner)


@pytest.mark.parametrize(("key", "needed"), [("", True), (STRIPE, False)])
def test_no_payment_method_is_needed_without_stripe_or_where_the_installation_wants_none(
    team: Team, cluster: Cluster, owner: User, settings: Settings, key: str, *, needed: bool
) -> None:
    settings.STRIPE_SECRET_KEY, settings.BILLING_PAYMENT_METHOD_NEEDED = key, needed
    egress_enable(app=make_app(team, cluster), actor=owner)


def test_the_refusal_is_known_before_anybody_enables(
    team: Team, cluster: Cluster, owner: User, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY, app = STRIPE, make_app(team, cluster)
    assert isinstance(enable_refusal(app=app, actor=owner), PaymentMethodNeeded)
    pay(team)
    assert enable_refusal(app=app, actor=owner) is None
    assert not Assignment.objects.exists()
