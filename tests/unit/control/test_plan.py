"""What is decided, for each thing that can be seen."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.control.models import AssignmentStatus, GatewayStatus, Wish
from egress.control.reconcile.plan import Act, Facts, GatewayFacts, NodeFacts, next_step

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
A, B = UUID(int=1), UUID(int=2)


def gateway(slot: int = 0, status: GatewayStatus = GatewayStatus.READY, **fields: Any) -> GatewayFacts:
    ready = {"addressed": True, "forwarding": True, "acknowledged": True, "reported_at": NOW}
    values = ready if status == GatewayStatus.READY else {}
    return GatewayFacts(**{"id": (A, B)[slot], "slot": slot, "status": status, "since": NOW, **values, **fields})


def facts(status: AssignmentStatus = AssignmentStatus.PROVISIONING, **fields: Any) -> Facts:
    defaults = {"now": NOW, "wish": Wish.ENABLED, "since": NOW, "gateways": (gateway(0), gateway(1))}
    return Facts(**{**defaults, "status": status, **fields})


def act(*args: Any, **fields: Any) -> Act:
    return next_step(facts(*args, **fields)).act


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (gateway(status=GatewayStatus.PENDING), Act.BEGIN_CREATE),
        (gateway(status=GatewayStatus.CREATING), Act.CREATE),
        (gateway(status=GatewayStatus.BOOTING), Act.POLL),
        (gateway(status=GatewayStatus.BOOTING, addressed=True), Act.WAIT),
        (gateway(status=GatewayStatus.BOOTING, forwarding=True), Act.POLL),
        (gateway(status=GatewayStatus.BOOTING, addressed=True, forwarding=True), Act.MARK_READY),
        (gateway(status=GatewayStatus.BOOTING, since=NOW - timedelta(minutes=9)), Act.POLL),
        (gateway(status=GatewayStatus.BOOTING, since=NOW - timedelta(minutes=11)), Act.FAIL_BOOT),
        (gateway(), Act.DISTRIBUTE),
        (gateway(forwarding=False), Act.WAIT),
        (gateway(acknowledged=False), Act.WAIT),
        (gateway(forwarding=False, reported_at=NOW - timedelta(minutes=11)), Act.FAIL_BOOT),
        (gateway(status=GatewayStatus.ERROR), Act.BEGIN_DELETE),
        (gateway(status=GatewayStatus.DELETING), Act.DELETE),
    ],
)
def test_provisioning_brings_a_gateway_up(first: GatewayFacts, expected: Act) -> None:
    step = next_step(facts(gateways=(first, gateway(1))))
    assert step.act == expected
    if expected not in {Act.WAIT, Act.DISTRIBUTE}:
        assert step.gateway_id == A


def test_the_second_gateway_does_not_wait_for_the_first() -> None:
    booting = gateway(status=GatewayStatus.BOOTING, addressed=True)
    step = next_step(facts(gateways=(booting, gateway(1, GatewayStatus.PENDING))))
    assert (step.act, step.gateway_id) == (Act.BEGIN_CREATE, B)


@pytest.mark.parametrize(("present", "missing"), [((gateway(0),), 1), ((gateway(1),), 0), ((), 0)])
def test_a_missing_gateway_is_added_in_its_slot(present: tuple[GatewayFacts, ...], missing: int) -> None:
    step = next_step(facts(gateways=present))
    assert (step.act, step.slot) == (Act.ADD_GATEWAY, missing)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (gateway(1), Act.CHECK_PLACEMENT),
        (gateway(1, acknowledged=False), Act.CHECK_PLACEMENT),
        (gateway(1, GatewayStatus.BOOTING, addressed=True), Act.CHECK_PLACEMENT),
        (gateway(1, GatewayStatus.BOOTING), Act.POLL),
        (gateway(1, GatewayStatus.CREATING), Act.CREATE),
        (gateway(1, GatewayStatus.DELETING), Act.DELETE),
    ],
)
def test_a_pair_is_looked_at_once_both_stand_and_before_nodes_are_told(second: GatewayFacts, expected: Act) -> None:
    assert act(placed=False, gateways=(gateway(0), second)) == expected


def test_an_address_is_asked_for_once_in_a_run_and_then_ever_more_rarely() -> None:
    def pause(age: float) -> float:
        young = gateway(status=GatewayStatus.BOOTING, since=NOW - timedelta(seconds=age))
        step = next_step(facts(gateways=(young, gateway(1)), polled=frozenset({A})))
        assert step.act == Act.WAIT
        return step.wait_seconds

    assert [pause(age) for age in (0, 5, 300)] == [0.5, 1.0, 5.0]


DISTRIBUTING = AssignmentStatus.DISTRIBUTING


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((), Act.WAIT),
        ((NodeFacts(applied=True, working=True),), Act.ACTIVATE),
        ((NodeFacts(applied=True, working=False),), Act.WAIT),
        ((NodeFacts(applied=False, working=True),), Act.WAIT),
        ((NodeFacts(applied=True, working=True), NodeFacts()), Act.WAIT),
    ],
)
def test_active_needs_every_live_node(nodes: tuple[NodeFacts, ...], expected: Act) -> None:
    assert act(DISTRIBUTING, nodes=nodes) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (AssignmentStatus.PROVISIONING, Act.RELEASE),
        (AssignmentStatus.DISTRIBUTING, Act.DRAIN),
        (AssignmentStatus.ACTIVE, Act.DRAIN),
        (AssignmentStatus.DRAINING, Act.WAIT),
        (AssignmentStatus.RELEASING, Act.WAIT),
        (AssignmentStatus.ERROR, Act.RELEASE),
        (AssignmentStatus.RELEASED, Act.SETTLED),
    ],
)
def test_disabling_leaves_every_status(status: AssignmentStatus, expected: Act) -> None:
    assert act(status, wish=Wish.DISABLED, nodes=(NodeFacts(),)) == expected


@pytest.mark.parametrize("status", [AssignmentStatus.ACTIVE, AssignmentStatus.ERROR, AssignmentStatus.RELEASED])
def test_what_is_wanted_and_done_or_failed_stays(status: AssignmentStatus) -> None:
    assert act(status, nodes=(NodeFacts(),)) == Act.SETTLED


@pytest.mark.parametrize(
    ("nodes", "age", "expected"),
    [
        ((), 0, Act.RELEASE),
        ((NodeFacts(applied=True, flows=0),), 0, Act.RELEASE),
        ((NodeFacts(applied=True, flows=1),), 0, Act.WAIT),
        ((NodeFacts(applied=True, flows=None),), 0, Act.WAIT),
        ((NodeFacts(applied=False, flows=0),), 0, Act.WAIT),
        ((NodeFacts(applied=True, flows=1),), 3599, Act.WAIT),
        ((NodeFacts(applied=True, flows=1),), 3600, Act.RELEASE),
        ((NodeFacts(applied=False),), 3600, Act.RELEASE),
    ],
)
def test_draining_ends_without_connections_or_at_the_deadline(
    nodes: tuple[NodeFacts, ...], age: int, expected: Act
) -> None:
    since = NOW - timedelta(seconds=age)
    assert act(AssignmentStatus.DRAINING, wish=Wish.DISABLED, nodes=nodes, since=since) == expected


def test_draining_never_sleeps_past_its_deadline() -> None:
    since = NOW - timedelta(seconds=3598)
    step = next_step(facts(AssignmentStatus.DRAINING, wish=Wish.DISABLED, nodes=(NodeFacts(),), since=since))
    assert step.wait_seconds == 2


RELEASING = AssignmentStatus.RELEASING
GONE = (NodeFacts(applied=True),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"nodes": (NodeFacts(),)}, Act.WAIT),
        ({"nodes": (NodeFacts(),), "targeted": False}, Act.BEGIN_DELETE),
        ({"nodes": GONE}, Act.BEGIN_DELETE),
        ({"nodes": GONE, "gateways": (gateway(status=GatewayStatus.DELETING),)}, Act.DELETE),
        ({"nodes": GONE, "gateways": (gateway(status=GatewayStatus.DELETING),), "polled": frozenset({A})}, Act.WAIT),
        ({"nodes": GONE, "gateways": ()}, Act.FINISH),
        ({"nodes": (), "gateways": ()}, Act.FINISH),
    ],
)
def test_releasing_deletes_once_every_node_forgot(fields: dict, expected: Act) -> None:
    assert act(RELEASING, wish=Wish.DISABLED, **fields) == expected


STUCK = NOW - timedelta(minutes=31)


def test_a_vm_that_the_provider_never_deletes_holds_its_customer_up_for_a_while_only() -> None:
    stuck, gone = gateway(0, GatewayStatus.DELETING, since=STUCK), gateway(1, GatewayStatus.DELETING)
    assert act(RELEASING, wish=Wish.DISABLED, nodes=GONE, gateways=(stuck, gone)) == Act.DELETE
    assert act(RELEASING, wish=Wish.DISABLED, nodes=GONE, gateways=(stuck,)) == Act.FINISH
    assert act(RELEASING, wish=Wish.DISABLED, nodes=(NodeFacts(),), gateways=(stuck,)) == Act.WAIT


def test_what_is_left_of_a_released_pair_is_deleted_and_nothing_else() -> None:
    stuck = gateway(0, GatewayStatus.DELETING, since=STUCK)
    step = next_step(facts(AssignmentStatus.RELEASED, wish=Wish.DISABLED, gateways=(gateway(1), stuck)))
    assert (step.act, step.gateway_id) == (Act.DELETE, A)


def test_a_deletion_is_looked_after_once_in_a_run_and_then_ever_more_rarely() -> None:
    def pause(age: float) -> float:
        going = gateway(status=GatewayStatus.DELETING, since=NOW - timedelta(seconds=age))
        step = next_step(facts(RELEASING, wish=Wish.DISABLED, gateways=(going,), polled=frozenset({A})))
        assert step.act == Act.WAIT
        return step.wait_seconds

    assert [pause(age) for age in (0, 2, 100, 1500)] == [1.0, 1.0, 50.0, 300.0]


def test_a_vm_that_does_not_go_does_not_hold_up_the_other() -> None:
    both = (gateway(0, GatewayStatus.DELETING), gateway(1, GatewayStatus.DELETING))
    step = next_step(facts(RELEASING, wish=Wish.DISABLED, gateways=both, polled=frozenset({A})))
    assert (step.act, step.gateway_id) == (Act.DELETE, B)


ACTIVE = AssignmentStatus.ACTIVE
OLD = NOW - timedelta(minutes=11)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (gateway(), Act.SETTLED),
        (gateway(forwarding=False), Act.SETTLED),
        (gateway(status=GatewayStatus.ERROR), Act.SETTLED),
        (gateway(status=GatewayStatus.DRAINING), Act.WAIT),
        (gateway(status=GatewayStatus.DRAINING, flows=2), Act.WAIT),
        (gateway(status=GatewayStatus.DRAINING, flows=0), Act.BEGIN_MAINTENANCE),
        (gateway(status=GatewayStatus.DRAINING, flows=2, since=NOW - timedelta(hours=1)), Act.BEGIN_MAINTENANCE),
        (gateway(status=GatewayStatus.MAINTENANCE), Act.MAINTAIN),
        (gateway(status=GatewayStatus.MAINTENANCE, since=OLD), Act.MAINTAIN),
        (gateway(status=GatewayStatus.MAINTENANCE, acting=True), Act.CHECK_MAINTENANCE),
        (gateway(status=GatewayStatus.MAINTENANCE, acting=True, since=OLD), Act.FAIL_MAINTENANCE),
        (gateway(status=GatewayStatus.BOOTING, addressed=True), Act.WAIT),
        (gateway(status=GatewayStatus.BOOTING, addressed=True, forwarding=True), Act.WAIT),
        (gateway(status=GatewayStatus.BOOTING, addressed=True, acknowledged=True), Act.WAIT),
        (gateway(status=GatewayStatus.BOOTING, forwarding=True, acknowledged=True), Act.MARK_READY),
        (gateway(status=GatewayStatus.BOOTING, forwarding=True, acknowledged=True, rebooted=False), Act.WAIT),
        (gateway(status=GatewayStatus.BOOTING, forwarding=True, acknowledged=True, seen=False), Act.WAIT),
        (
            gateway(status=GatewayStatus.BOOTING, forwarding=True, acknowledged=True, seen=False, since=OLD),
            Act.FAIL_MAINTENANCE,
        ),
        (gateway(status=GatewayStatus.DRAINING, flows=0, held=True), Act.WAIT),
        (gateway(status=GatewayStatus.DRAINING, flows=2, held=True, since=NOW - timedelta(hours=2)), Act.WAIT),
        (gateway(status=GatewayStatus.BOOTING, since=OLD), Act.FAIL_MAINTENANCE),
    ],
)
def test_a_gateway_of_an_active_pair_is_drained_rebuilt_and_booted(first: GatewayFacts, expected: Act) -> None:
    step = next_step(facts(ACTIVE, gateways=(first, gateway(1))))
    assert step.act == expected
    if expected not in {Act.WAIT, Act.SETTLED}:
        assert step.gateway_id == A


@pytest.mark.parametrize(
    "peer",
    [
        gateway(1, forwarding=False),
        gateway(1, acknowledged=False),
        gateway(1, GatewayStatus.ERROR),
        gateway(1, GatewayStatus.BOOTING, forwarding=True, acknowledged=True),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
def test_without_a_peer_that_serves_nothing_is_rebuilt(peer: GatewayFacts, *, announced: bool) -> None:
    draining = gateway(status=GatewayStatus.DRAINING, flows=0)
    step = next_step(facts(ACTIVE, gateways=(draining, peer), announced=announced))
    assert (step.act, step.gateway_id) == (Act.RESUME, A)
    waiting = gateway(status=GatewayStatus.MAINTENANCE, forwarding=True)
    assert next_step(facts(ACTIVE, gateways=(waiting, peer))).act in {Act.WAIT, Act.MARK_READY}


def test_a_dead_gateway_is_rebuilt_without_a_peer() -> None:
    dead = gateway(status=GatewayStatus.MAINTENANCE)
    step = next_step(facts(ACTIVE, gateways=(dead, gateway(1, forwarding=False))))
    assert (step.act, step.gateway_id) == (Act.MAINTAIN, A)


@pytest.mark.parametrize("status", [GatewayStatus.READY, GatewayStatus.DRAINING, GatewayStatus.ERROR])
def test_nodes_are_told_before_anything_else(status: GatewayStatus) -> None:
    assert act(ACTIVE, gateways=(gateway(0, status, flows=0), gateway(1)), announced=False) == Act.ANNOUNCE


def test_a_rebuild_is_asked_for_its_end_once_in_a_run() -> None:
    rebuilding = gateway(status=GatewayStatus.MAINTENANCE, acting=True)
    step = next_step(facts(ACTIVE, gateways=(rebuilding, gateway(1)), polled=frozenset({A})))
    assert (step.act, step.wait_seconds) == (Act.WAIT, 1)


def test_a_drain_before_a_rebuild_never_sleeps_past_its_deadline() -> None:
    draining = gateway(status=GatewayStatus.DRAINING, since=NOW - timedelta(seconds=3598))
    assert next_step(facts(ACTIVE, gateways=(draining, gateway(1)))).wait_seconds == 2


_GATEWAYS = st.builds(
    GatewayFacts,
    id=st.just(A),
    slot=st.just(0),
    status=st.sampled_from([status for status in GatewayStatus if status != GatewayStatus.DELETED]),
    since=st.sampled_from([NOW, NOW - timedelta(minutes=11), NOW - timedelta(minutes=31)]),
    addressed=st.booleans(),
    forwarding=st.booleans(),
    acknowledged=st.booleans(),
    reported_at=st.sampled_from([None, NOW, NOW - timedelta(minutes=11)]),
    flows=st.sampled_from([None, 0, 5]),
    acting=st.booleans(),
    held=st.booleans(),
    rebooted=st.booleans(),
    seen=st.booleans(),
)
_NODES = st.builds(NodeFacts, applied=st.booleans(), working=st.booleans(), flows=st.sampled_from([None, 0, 5]))


@given(
    status=st.sampled_from(AssignmentStatus),
    wish=st.sampled_from(Wish),
    gateways=st.lists(_GATEWAYS, max_size=1),
    nodes=st.lists(_NODES, max_size=3),
    targeted=st.booleans(),
    polled=st.booleans(),
    announced=st.booleans(),
)
def test_nothing_that_can_be_seen_makes_it_do_harm(  # all that a decision rests on
    *,
    status: AssignmentStatus,
    wish: Wish,
    gateways: list[GatewayFacts],
    nodes: list[NodeFacts],
    targeted: bool,
    polled: bool,
    announced: bool,
) -> None:
    seen = facts(
        status,
        wish=wish,
        gateways=(*gateways, gateway(1)),
        nodes=tuple(nodes),
        targeted=targeted,
        announced=announced,
        polled=frozenset({A, B}) if polled else frozenset(),
    )
    step = next_step(seen)
    if step.act == Act.WAIT:
        assert step.wait_seconds > 0
    if step.act in {Act.BEGIN_DELETE, Act.DELETE} and status != AssignmentStatus.PROVISIONING:
        assert status in {AssignmentStatus.RELEASING, AssignmentStatus.RELEASED}
        doomed = next(row for row in seen.gateways if row.id == step.gateway_id)
        forgotten = not targeted or all(node.applied for node in nodes)
        assert forgotten if status == AssignmentStatus.RELEASING else doomed.status == GatewayStatus.DELETING
    if step.act == Act.DISTRIBUTE:
        assert wish == Wish.ENABLED
        # One that is resumed had both; what failed meanwhile is repaired once it is active.
        both = all(row.status == GatewayStatus.READY and row.forwarding for row in seen.gateways)
        assert both or status == AssignmentStatus.DRAINING
    if step.act in {Act.BEGIN_MAINTENANCE, Act.MAINTAIN}:
        assert (wish, status, announced) == (Wish.ENABLED, AssignmentStatus.ACTIVE, True)
        serving = [row for row in seen.gateways if row.status == GatewayStatus.READY and row.forwarding]
        (own,) = (row for row in seen.gateways if row.id == step.gateway_id)
        assert serving or (step.act == Act.MAINTAIN and not own.forwarding)
    if step.act in {Act.BEGIN_DELETE, Act.DELETE}:
        assert status != AssignmentStatus.ACTIVE


def test_held_addresses_stay_until_the_hold_is_over() -> None:
    drained = {"wish": Wish.DISABLED, "nodes": (NodeFacts(applied=True, flows=0),), "since": NOW - timedelta(days=2)}
    held = next_step(facts(AssignmentStatus.DRAINING, held_until=NOW + timedelta(days=5), **drained))
    assert (held.act, held.wait_seconds) == (Act.WAIT, 60)
    nearly = next_step(facts(AssignmentStatus.DRAINING, held_until=NOW + timedelta(seconds=3), **drained))
    assert (nearly.act, nearly.wait_seconds) == (Act.WAIT, 3)
    over = next_step(facts(AssignmentStatus.DRAINING, held_until=NOW, **drained))
    assert over.act is Act.RELEASE


def test_one_that_is_resumed_while_it_is_held_is_distributed_again() -> None:
    step = next_step(facts(AssignmentStatus.DRAINING, wish=Wish.ENABLED, held_until=None))
    assert step.act is Act.DISTRIBUTE
