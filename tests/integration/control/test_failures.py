"""Providers that fail, answers that get lost, workers that die: what must never happen doesn't."""

from datetime import timedelta
from uuid import uuid4

import pytest
from pytest_django import Settings

from egress.control import clock, naming
from egress.control.health import watch_silence
from egress.control.models import Assignment, AssignmentStatus, Event, Gateway, Node, Wish
from egress.control.reconcile import steps
from egress.control.reconcile.lease import Lease
from egress.control.reconcile.loop import reconcile, sweep
from egress.control.selectors import egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry

from .cloud import LOST_ANSWER
from .fleet import Fleet

pytestmark = pytest.mark.costly


@pytest.fixture
def enabled(fleet: Fleet) -> Fleet:
    egress_enable(app=fleet.app, actor=fleet.user)
    return fleet


@pytest.mark.parametrize("code", ["provider_no_capacity", "provider_access_refused", "provider_rejected"])
def test_a_lasting_refusal_is_an_error_in_the_customers_words_and_retry_leaves_it(enabled: Fleet, code: str) -> None:
    enabled.cloud.fail("create_or_adopt", code)
    assignment = enabled.step()
    assert (assignment.status, assignment.due_at) == (AssignmentStatus.ERROR, None)
    view = egress_view(enabled.app)
    assert (view.error_code, view.can_retry, view.can_disable, view.busy) == (code, True, True, False)
    assert "shared addresses" in view.error_message
    assert "made to fail" not in view.error_message
    assert "made to fail" in Event.objects.get(new="error").reason

    egress_retry(app=enabled.app, actor=enabled.user)
    assert egress_view(enabled.app).error_code == ""
    enabled.step()
    assert len(enabled.cloud.servers()) == 2


def test_a_passing_error_is_shown_tried_again_later_and_forgotten(enabled: Fleet) -> None:
    enabled.cloud.fail("create_or_adopt", "provider_unavailable")
    assignment = enabled.step()
    assert (assignment.status, assignment.attempts) == (AssignmentStatus.PROVISIONING, 1)
    assert assignment.due_at is not None
    assert assignment.due_at > clock.now()
    view = egress_view(enabled.app)
    assert (view.error_code, view.busy) == ("provider_unavailable", True)
    assert "nothing for you to do" in view.error_message
    assignment = enabled.step()
    assert (assignment.attempts, assignment.error_code) == (0, "")
    assert len(enabled.cloud.servers()) == 2


def test_passing_errors_end_in_error_after_a_limit(enabled: Fleet, settings: Settings) -> None:
    settings.EGRESS_PROVIDER_ATTEMPTS = 3
    enabled.cloud.fail("create_or_adopt", "provider_unavailable", times=10)
    statuses = [enabled.step().status for _ in range(3)]
    assert statuses == ["provisioning", "provisioning", "error"]
    assert Event.objects.filter(kind="provider").count() == 1


def test_to_be_asked_to_wait_is_no_failure_however_often(enabled: Fleet, settings: Settings) -> None:
    settings.EGRESS_PROVIDER_ATTEMPTS = 3
    enabled.cloud.fail("create_or_adopt", "provider_rate_limited", times=10)
    for _ in range(10):
        assignment = enabled.step()
        assert (assignment.status, assignment.attempts) == ("provisioning", 0)
        assert assignment.error_code == "provider_rate_limited"
    enabled.step()
    assert len(enabled.cloud.servers()) == 2


def test_a_creation_whose_answer_got_lost_is_adopted_not_repeated(enabled: Fleet) -> None:
    enabled.cloud.fail("create_or_adopt", LOST_ANSWER)
    enabled.step()
    assert [gateway.provisioning_status for gateway in enabled.gateways()] == ["creating", "pending"]
    enabled.step()
    assert len(enabled.cloud.servers()) == 2
    assert {gateway.server_id for gateway in enabled.gateways()} == {"1", "2"}


def test_a_bug_postpones_the_row_instead_of_trying_it_every_second(
    enabled: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "user_data_of", lambda _gateway: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        enabled.step()
    assignment = enabled.assignment
    assert assignment.attempts == 1
    assert assignment.due_at is not None
    assert assignment.due_at > clock.now()
    assert assignment.lease_until is None


def test_addresses_that_come_late_are_waited_for(enabled: Fleet) -> None:
    enabled.cloud.delay_addresses(2)
    assignment = enabled.step()
    assert [gateway.public_address for gateway in enabled.gateways()] == [None, None]
    assert assignment.due_at is not None
    enabled.step()
    assert [gateway.public_address for gateway in enabled.gateways()] == ["203.0.113.1", "203.0.113.2"]


def test_a_gateway_that_never_reports_fails_and_is_replaced_on_retry(enabled: Fleet, settings: Settings) -> None:
    enabled.step()
    settings.EGRESS_BOOT_LIMIT_SECONDS = -1
    assignment = enabled.step()
    assert (assignment.status, assignment.error_code) == (AssignmentStatus.ERROR, "gateway_boot_timeout")
    assert "never reported" in Event.objects.get(subject="gateway.status", new="error").reason

    settings.EGRESS_BOOT_LIMIT_SECONDS = 600
    egress_retry(app=enabled.app, actor=enabled.user)
    enabled.step()
    assert [gateway.server_id for gateway in enabled.gateways()] == ["3", "2"]
    assert [server.id for server in enabled.cloud.servers()] == ["2", "3"]


def test_a_server_that_disappears_before_use_is_an_error(enabled: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    enabled.cloud.delay_addresses(5)
    enabled.step()
    enabled.cloud.delete("1")
    assert enabled.step().error_code == "provider_unavailable"
    monkeypatch.setattr(steps, "SETTLING", timedelta(0))
    assert enabled.step().error_code == "gateway_lost"


@pytest.mark.parametrize("status", ["pending", "creating", "booting", "ready", "error"])
def test_disabling_works_at_every_point_of_provisioning(enabled: Fleet, status: str, settings: Settings) -> None:
    if status == "creating":
        enabled.cloud.fail("create_or_adopt", "provider_unavailable", times=3)
    if status == "error":
        settings.EGRESS_BOOT_LIMIT_SECONDS = -1
    if status != "pending":
        enabled.step()
    if status == "ready":
        enabled.boot_gateways()
        Gateway.objects.filter(slot=1).update(applied_clients_revision=0)
    if status in {"ready", "error"}:
        enabled.step()
    assert enabled.gateways()[0].provisioning_status == status
    egress_disable(app=enabled.app, actor=enabled.user)
    assert enabled.step().status == AssignmentStatus.RELEASED
    assert enabled.cloud.servers() == []


def test_disabling_while_nodes_are_told_drains_first(enabled: Fleet) -> None:
    enabled.step()
    enabled.boot_gateways()
    assert enabled.step().status == AssignmentStatus.DISTRIBUTING
    egress_disable(app=enabled.app, actor=enabled.user)
    assert enabled.step().status == AssignmentStatus.DRAINING


def test_a_deletion_that_fails_goes_on_for_ever_and_says_why(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_PROVIDER_ATTEMPTS = 2
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    fleet.nodes_follow()
    fleet.cloud.fail("delete", "provider_access_refused", times=5)
    for attempt in range(1, 6):
        assignment = fleet.step()
        assert (assignment.status, assignment.attempts) == (AssignmentStatus.RELEASING, attempt)
    assert egress_view(fleet.app).error_code == "provider_access_refused"
    assert fleet.step().status == AssignmentStatus.RELEASED
    assert fleet.cloud.servers() == []


def test_releasing_deletes_duplicates_too(enabled: Fleet) -> None:
    enabled.step()
    enabled.cloud.add_stray(naming.gateway_tag(enabled.gateways()[1].pk))
    egress_disable(app=enabled.app, actor=enabled.user)
    assert enabled.step().status == AssignmentStatus.RELEASED
    assert enabled.cloud.servers() == []


def test_a_row_that_another_worker_has_is_left_alone(enabled: Fleet) -> None:
    lease = Lease.acquire(enabled.assignment.pk)
    assert lease is not None
    assert Lease.acquire(enabled.assignment.pk) is None
    enabled.step()
    assert enabled.cloud.calls("create_or_adopt") == 0
    lease.drop()
    enabled.step()
    assert enabled.cloud.calls("create_or_adopt") == 2


def test_a_worker_whose_lease_ran_out_writes_nothing_more(enabled: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    original = steps.user_data_of

    def slow(gateway: Gateway) -> str:
        # Another worker took over meanwhile.
        Assignment.objects.update(lease_owner="another", lease_until=clock.now() + timedelta(minutes=1))
        return original(gateway)

    monkeypatch.setattr(steps, "user_data_of", slow)
    enabled.step()
    assert enabled.cloud.servers() == []
    assert enabled.gateways()[0].provisioning_status == "creating"
    assert Assignment.objects.get().lease_owner == "another"


def test_being_woken_while_at_work_means_looking_again(enabled: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    original = steps._GATEWAY_STEPS[steps.Act.CREATE]

    def create_then_disable(work: steps.Work, gateway: Gateway) -> None:
        original(work, gateway)
        egress_disable(app=enabled.app, actor=enabled.user)

    monkeypatch.setitem(steps._GATEWAY_STEPS, steps.Act.CREATE, create_then_disable)
    assert enabled.step().status == AssignmentStatus.RELEASED
    assert enabled.cloud.servers() == []


def test_a_hint_for_a_row_that_is_gone_does_no_harm(db: None) -> None:
    reconcile(uuid4())


def test_the_sweep_enqueues_what_is_due_and_nobody_has(enabled: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("egress.control.reconcile.loop.enqueue", lambda ids: sent.extend(map(str, ids)))
    sweep()
    assert sent == [str(enabled.assignment.pk)]
    Lease.acquire(enabled.assignment.pk)
    sweep()
    assert len(sent) == 1
    Assignment.objects.update(lease_until=clock.now(), due_at=clock.now() + timedelta(minutes=1))
    sweep()
    Assignment.objects.update(due_at=None)
    sweep()
    assert len(sent) == 1


def test_a_clock_that_is_set_back_holds_nothing_up_and_makes_nobody_well(
    fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr("egress.control.reconcile.loop.enqueue", lambda ids: sent.extend(map(str, ids)))
    settings.CLOCK_OFFSET_SECONDS = 3600
    fleet.bring_up()
    Assignment.objects.update(due_at=clock.now())
    assert Lease.acquire(fleet.assignment.pk)
    sent.clear()
    settings.CLOCK_OFFSET_SECONDS = 0
    watch_silence()
    assert {row.health for row in (*fleet.gateways(), *Node.objects.all())} == {"unhealthy"}
    fleet.report_gateway(fleet.gateways()[0])
    assert fleet.gateways()[0].health == "healthy"
    later = clock.now() + timedelta(hours=1)
    Assignment.objects.update(due_at=later)
    sweep()
    assert sent == [str(fleet.assignment.pk)]
    assert Lease.acquire(fleet.assignment.pk)
    # The provider may ask us to wait that long.
    Assignment.objects.update(lease_until=None, due_at=later, error_code="provider_rate_limited")
    sweep()
    assert len(sent) == 1


def test_the_wish_survives_an_error_that_meets_a_disable(enabled: Fleet) -> None:
    enabled.cloud.fail("create_or_adopt", "provider_no_capacity")
    Assignment.objects.update(wish=Wish.DISABLED)
    assert enabled.step().status == AssignmentStatus.RELEASED
