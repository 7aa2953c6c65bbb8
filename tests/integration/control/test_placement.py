"""A pair's two servers stand on different hosts, or operators hear of it, before anybody has its addresses."""

import pytest
from pytest_django import Settings

from egress.control.models import AssignmentStatus, Event, Gateway, GatewayStatus, Placement, RouteChange
from egress.control.reconcile import failures, steps
from egress.control.selectors import egress_view
from egress.control.services import egress_enable, egress_retry

from .fleet import Fleet

pytestmark = pytest.mark.costly


@pytest.fixture
def enabled(fleet: Fleet) -> Fleet:
    egress_enable(app=fleet.app, actor=fleet.user)
    return fleet


def go_on(fleet: Fleet) -> AssignmentStatus:
    """Let the agents do what they do, and reconcile twice."""
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.nodes_follow()
    return AssignmentStatus(fleet.step().status)


def test_a_pair_on_two_hosts_is_asked_about_once_and_stays(enabled: Fleet) -> None:
    assert go_on(enabled) == AssignmentStatus.ACTIVE
    assert enabled.cloud.calls("neighbours") == 1
    assert enabled.assignment.placement == Placement.APART
    assert [server.id for server in enabled.cloud.servers()] == ["1", "2"]
    assert not Event.objects.filter(subject="assignment.placement").exists()


def test_the_second_of_two_on_one_host_is_replaced_before_nodes_or_the_customer_hear_of_it(enabled: Fleet) -> None:
    enabled.cloud.fail("neighbours", "provider_unavailable")
    enabled.step()
    assert [address.ip for address in egress_view(enabled.app).ips] == [None, None]
    enabled.cloud.share_host("1", "2")
    enabled.step()
    assert [gateway.server_id for gateway in enabled.gateways()] == ["1", "3"]
    assert not RouteChange.objects.exists()
    replaced = Gateway.objects.get(server_id="2")
    assert replaced.provisioning_status == GatewayStatus.DELETED
    assert "stands on the host of 1" in replaced.events.get(new="deleting").reason
    assert go_on(enabled) == AssignmentStatus.ACTIVE
    assert enabled.assignment.placement == Placement.APART
    assert [server.id for server in enabled.cloud.servers()] == ["1", "3"]


def test_what_a_replaced_gateway_knows_is_worth_nothing(enabled: Fleet) -> None:
    enabled.cloud.fail("neighbours", "provider_unavailable")
    enabled.step()
    enabled.boot_gateways()
    enabled.cloud.share_host("1", "2")
    enabled.step()
    replaced = Gateway.objects.get(server_id="2")
    assert (replaced.token_hash, replaced.enrolment_hash, replaced.enrolment_until) == (None, "", None)


def test_a_pair_that_always_lands_on_one_host_serves_and_operators_hear_of_it(enabled: Fleet) -> None:
    enabled.cloud.place_together(99)
    assert go_on(enabled) == AssignmentStatus.ACTIVE
    assert enabled.assignment.placement == Placement.TOGETHER
    assert enabled.cloud.calls("neighbours") == steps.MAX_MOVES + 1
    assert len(enabled.cloud.servers()) == 2
    event = Event.objects.get(subject="assignment.placement")
    assert (event.new, "share a host" in event.reason) == ("together", True)


@pytest.mark.parametrize(
    ("code", "calls"), [("provider_unavailable", failures.PLACEMENT_ATTEMPTS), ("provider_access_refused", 1)]
)
def test_a_provider_that_does_not_say_holds_nobody_up_for_long(enabled: Fleet, code: str, calls: int) -> None:
    enabled.cloud.fail("neighbours", code, times=99)
    for _ in range(calls):
        assert enabled.assignment.placement == Placement.UNCHECKED
        enabled.step()
    assert enabled.cloud.calls("neighbours") == calls
    assert go_on(enabled) == AssignmentStatus.ACTIVE
    assert enabled.assignment.placement == Placement.UNKNOWN
    assert code in Event.objects.get(subject="assignment.placement").reason


def test_a_gateway_that_replaces_a_failed_one_is_looked_at_again(enabled: Fleet, settings: Settings) -> None:
    enabled.step()
    assert enabled.assignment.placement == Placement.APART
    settings.EGRESS_BOOT_LIMIT_SECONDS = -1
    assert enabled.step().status == AssignmentStatus.ERROR
    settings.EGRESS_BOOT_LIMIT_SECONDS = 600
    egress_retry(app=enabled.app, actor=enabled.user)
    assert go_on(enabled) == AssignmentStatus.ACTIVE
    assert enabled.cloud.calls("neighbours") == 2
    assert [gateway.server_id for gateway in enabled.gateways()] == ["3", "2"]
