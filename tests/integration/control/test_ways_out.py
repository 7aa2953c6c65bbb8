"""Every failure ends in a clear state that a retry or disable leaves, and disabling works from any state."""

from collections.abc import Iterable
from itertools import combinations_with_replacement, product
from typing import Any

import pytest
from pytest_django import Settings

from egress.control import clock, distribution, naming
from egress.control.errors import NothingToRetry
from egress.control.maintenance import gateway_maintain
from egress.control.models import Assignment, AssignmentStatus, Gateway, GatewayStatus, RouteChange
from egress.control.models_rollouts import Maintenance
from egress.control.reconcile.failures import stopped_message, trying_message
from egress.control.selectors import egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry
from egress.provider.base import ProviderError, RateLimited, ServerSpec

from .cloud import FileCloud
from .fleet import Fleet, make_fleet

ROUNDS = 30
LASTING = {"provider_no_capacity", "provider_access_refused", "provider_rejected"}
#: To be asked to wait is no failure: it ends nothing, however often.
CODES = sorted(error.code for error in ProviderError.__subclasses__() if error is not RateLimited)
FEW = ("provider_rejected", "provider_unavailable")

pytestmark = pytest.mark.costly


def thorough(rows: Iterable[Any]) -> list[Any]:
    """Return these parameters; in the normal run only those with one of a `FEW` codes."""

    def one(row: tuple[Any, ...]) -> Any:
        return pytest.param(*row, marks=() if set(FEW) & set(row) else pytest.mark.full)

    return [one(row if isinstance(row, tuple) else (row,)) for row in rows]


@pytest.fixture(autouse=True)
def _few_attempts(settings: Settings) -> None:
    settings.EGRESS_PROVIDER_ATTEMPTS = 3


def settle(fleet: Fleet, settings: Settings, *, boot: bool = True) -> Assignment:
    """Go on until nothing is left to do; time moves on with what is waited for."""
    for _ in range(ROUNDS):
        assignment = fleet.step()
        if assignment.due_at is None:
            return assignment
        settings.CLOCK_OFFSET_SECONDS += max(0, round((assignment.due_at - clock.now()).total_seconds())) + 1
        fleet.lay_anew()
        for gateway in fleet.gateways() if boot else ():
            if gateway.public_address and gateway.provisioning_status in {"booting", "ready"}:
                fleet.boot(gateway)
        fleet.nodes_follow()
    raise AssertionError(f"it never ends: {fleet.assignment}")


def check_active(fleet: Fleet) -> None:
    assert fleet.assignment.status == AssignmentStatus.ACTIVE
    assert {gateway.provisioning_status for gateway in fleet.gateways()} == {"ready"}
    assert {gateway.server_id for gateway in fleet.gateways()} == {server.id for server in fleet.cloud.servers()}


def check_released(fleet: Fleet) -> None:
    assert fleet.assignment.status == AssignmentStatus.RELEASED
    assert fleet.cloud.servers() == []


@pytest.mark.parametrize("way_out", ["retry", "disable"])
@pytest.mark.parametrize("code", thorough(CODES))
def test_a_creation_that_fails_for_good_is_an_error_with_both_ways_out(
    fleet: Fleet, settings: Settings, code: str, way_out: str
) -> None:
    fleet.cloud.fail("create_or_adopt", code, times=1 if code in LASTING else 3)
    egress_enable(app=fleet.app, actor=fleet.user)
    assert settle(fleet, settings).status == AssignmentStatus.ERROR
    check_way_out(fleet, settings, code, way_out)


@pytest.mark.parametrize("way_out", ["retry", "disable"])
@pytest.mark.parametrize("code", thorough(code for code in CODES if code != "provider_not_found"))
def test_a_look_that_fails_for_good_is_an_error_with_both_ways_out(
    fleet: Fleet, settings: Settings, code: str, way_out: str
) -> None:
    fleet.cloud.delay_addresses(1)
    fleet.cloud.fail("get", code, times=1 if code in LASTING else 3)
    egress_enable(app=fleet.app, actor=fleet.user)
    assert settle(fleet, settings).status == AssignmentStatus.ERROR
    check_way_out(fleet, settings, code, way_out)


@pytest.mark.parametrize("method", ["create_or_adopt", "get", "neighbours"])
def test_a_provider_that_asks_to_slow_down_many_times_is_waited_for(
    fleet: Fleet, settings: Settings, method: str
) -> None:
    fleet.cloud.delay_addresses(1)
    fleet.cloud.fail(method, RateLimited.code, times=7)
    egress_enable(app=fleet.app, actor=fleet.user)
    settle(fleet, settings)
    check_active(fleet)


@pytest.mark.parametrize("way_out", ["retry", "disable"])
def test_a_server_that_is_gone_is_an_error_with_both_ways_out(fleet: Fleet, settings: Settings, way_out: str) -> None:
    fleet.cloud.delay_addresses(50)
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.cloud.delete("1")
    settings.CLOCK_OFFSET_SECONDS += 70
    assert settle(fleet, settings).status == AssignmentStatus.ERROR
    fleet.cloud.delay_addresses(0)
    check_way_out(fleet, settings, "gateway_lost", way_out)


@pytest.mark.parametrize("way_out", ["retry", "disable"])
def test_gateways_that_do_not_boot_are_an_error_with_both_ways_out(
    fleet: Fleet, settings: Settings, way_out: str
) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    settings.CLOCK_OFFSET_SECONDS += settings.EGRESS_BOOT_LIMIT_SECONDS + 1
    assert settle(fleet, settings).status == AssignmentStatus.ERROR
    # Both are late: one retry is enough all the same.
    check_way_out(fleet, settings, "gateway_boot_timeout", way_out)


def check_way_out(fleet: Fleet, settings: Settings, code: str, way_out: str) -> None:
    """Require an error in plain words, and the end that the customer's choice must have."""
    view = egress_view(fleet.app)
    assert (view.error_code, view.error_message) == (code, stopped_message(code))
    assert (view.can_retry, view.can_disable, view.busy) == (True, True, False)
    if way_out == "retry":
        egress_retry(app=fleet.app, actor=fleet.user)
        settle(fleet, settings)
        check_active(fleet)
        with pytest.raises(NothingToRetry):
            egress_retry(app=fleet.app, actor=fleet.user)
    else:
        egress_disable(app=fleet.app, actor=fleet.user)
        settle(fleet, settings)
        check_released(fleet)


def test_a_gateway_left_alone_during_an_error_is_not_the_next_one(fleet: Fleet, settings: Settings) -> None:
    fleet.cloud.delay_addresses(1)
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.cloud.fail("create_or_adopt", "", "provider_no_capacity")
    fleet.step()
    assert [gateway.provisioning_status for gateway in fleet.gateways()] == ["booting", "creating"]
    settings.CLOCK_OFFSET_SECONDS += 10 * settings.EGRESS_BOOT_LIMIT_SECONDS
    check_way_out(fleet, settings, "provider_no_capacity", "retry")


def test_a_gateway_that_came_up_during_an_error_is_kept_by_a_retry(fleet: Fleet, settings: Settings) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.cloud.fail("create_or_adopt", "", "provider_no_capacity")
    fleet.step()
    settings.CLOCK_OFFSET_SECONDS += settings.EGRESS_BOOT_LIMIT_SECONDS - 10
    fleet.boot(fleet.gateways()[0])
    settings.CLOCK_OFFSET_SECONDS += 20
    check_way_out(fleet, settings, "provider_no_capacity", "retry")
    assert [gateway.server_id for gateway in fleet.gateways()] == ["1", "2"]


@pytest.mark.parametrize("method", ["list_by_tag", "delete"])
@pytest.mark.parametrize("code", thorough([*CODES, RateLimited.code]))
def test_a_deletion_that_fails_goes_on_until_all_is_gone(
    fleet: Fleet, settings: Settings, method: str, code: str
) -> None:
    fleet.bring_up()
    fleet.cloud.fail(method, code, times=5)
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    fleet.nodes_follow()
    assignment = fleet.step()
    assert (assignment.status, assignment.error_message) == (AssignmentStatus.RELEASING, trying_message(code))
    settle(fleet, settings)
    check_released(fleet)


@pytest.mark.parametrize(
    ("method", "code", "way_out"),
    thorough(
        [(method, code, "rebuild") for method in ("rebuild", "action_status") for code in CODES]
        + [("rebuild", "provider_rejected", "disable"), ("action_status", "provider_not_found", "disable")]
    ),
)
def test_a_rebuild_that_fails_for_good_leaves_the_pair_active_with_both_ways_out(
    fleet: Fleet, settings: Settings, method: str, code: str, way_out: str
) -> None:
    fleet.bring_up()
    fleet.cloud.fail(method, code, times=1 if code in LASTING else 3)
    gateway_maintain(kind=Maintenance.REBUILD, gateway=fleet.gateways()[0], actor=fleet.user)
    assert settle(fleet, settings).status == AssignmentStatus.ACTIVE
    assert [gateway.provisioning_status for gateway in fleet.gateways()] == ["error", "ready"]
    if way_out == "rebuild":
        gateway_maintain(kind=Maintenance.REBUILD, gateway=fleet.gateways()[0], actor=fleet.user)
        settle(fleet, settings)
        check_active(fleet)
    else:
        egress_disable(app=fleet.app, actor=fleet.user)
        settle(fleet, settings)
        check_released(fleet)


# --- disabling, from every combination of statuses --------------------------------------------------------------------

#: Before the provider was asked for a server, there is none; while it is asked, there may be one that we don't know of.
WITHOUT_SERVER = {GatewayStatus.PENDING, GatewayStatus.DELETED}
UNREPORTED = {GatewayStatus.CREATING}
#: Nodes know the route.
ROUTED = {AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE, AssignmentStatus.DRAINING}

_G = GatewayStatus
_RISING = (_G.PENDING, _G.CREATING, _G.BOOTING, _G.READY, _G.DELETING)
#: Only one of an active pair is under maintenance, or failed at it.
_SERVING = [(_G.READY, other) for other in (_G.READY, _G.DRAINING, _G.MAINTENANCE, _G.BOOTING, _G.ERROR)]

Pair = tuple[GatewayStatus, GatewayStatus]
#: The combinations that occur; which of the two gateways is in slot 0 makes no difference.
REACHABLE: dict[AssignmentStatus, list[Pair]] = {
    AssignmentStatus.PROVISIONING: list(combinations_with_replacement(_RISING, 2)),
    AssignmentStatus.ERROR: list(combinations_with_replacement((*_RISING, _G.ERROR), 2)),
    AssignmentStatus.DISTRIBUTING: [(_G.READY, _G.READY)],
    AssignmentStatus.ACTIVE: _SERVING,
    AssignmentStatus.DRAINING: _SERVING,
    AssignmentStatus.RELEASING: list(combinations_with_replacement(GatewayStatus, 2)),
}


@pytest.mark.parametrize("status", REACHABLE)
def test_disabling_works_from_every_status_of_a_gateway_beside_its_like_and_beside_a_ready_one(
    db: None, cloud: FileCloud, settings: Settings, status: AssignmentStatus
) -> None:
    few = [pair for pair in REACHABLE[status] if pair[0] == pair[1] or GatewayStatus.READY in pair]
    check_disabling(make_fleet(cloud), settings, status, few)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("status", REACHABLE)
def test_disabling_works_from_every_combination_of_statuses(
    db: None, cloud: FileCloud, settings: Settings, status: AssignmentStatus
) -> None:
    check_disabling(make_fleet(cloud), settings, status, list(product(GatewayStatus, repeat=2)))


def test_no_status_is_left_out() -> None:
    assert set(REACHABLE) == set(AssignmentStatus) - {AssignmentStatus.RELEASED}


def check_disabling(fleet: Fleet, settings: Settings, status: AssignmentStatus, pairs: list[Pair]) -> None:
    for pair in pairs:
        put(fleet, status, pair)
        egress_disable(app=fleet.app, actor=fleet.user)
        try:
            settle(fleet, settings, boot=False)
        except Exception as error:
            raise AssertionError(f"{status} with {', '.join(pair)} can't be left: {error}") from error
        check_released(fleet)
        assert set(fleet.assignment.gateways.values_list("provisioning_status", flat=True)) == {"deleted"}
        assert not RouteChange.objects.filter(route__isnull=False).exists()


def put(fleet: Fleet, status: AssignmentStatus, gateways: Pair) -> None:
    """Bring a new assignment into this state, with the servers that belong to it."""
    assignment = egress_enable(app=fleet.app, actor=fleet.user)
    for row, wanted in zip(assignment.gateways.order_by("slot"), gateways, strict=True):
        Gateway.objects.filter(pk=row.pk).update(provisioning_status=wanted, **server_of(fleet, row, wanted))
    target = None
    if status in ROUTED:
        route = distribution.route_of(assignment, "active")
        target = distribution.publish(assignment.cluster_id, route.namespace, route)
    Assignment.objects.filter(pk=assignment.pk).update(status=status, target_revision=target)


def server_of(fleet: Fleet, gateway: Gateway, status: GatewayStatus) -> dict[str, Any]:
    if status in WITHOUT_SERVER:
        return {}
    tag = naming.gateway_tag(gateway.pk)
    spec = ServerSpec(name="x", region="x", size="x", image="x", user_data="", vpc_id="x", tags=(tag,))
    server = fleet.cloud.create_or_adopt(spec, tag=tag)
    if status in UNREPORTED:
        return {}
    busy = {"action_id": "7"} if status == GatewayStatus.MAINTENANCE else {}
    addresses = {"public_address": server.public_address, "private_address": server.private_address}
    return {"server_id": server.id, **addresses, **busy}
