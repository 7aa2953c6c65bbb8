"""What nodes tell of pivots: kept once, with their own times; what can't be true is left out and fails no report."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from egress.control import clock
from egress.control.agents import calls as agents
from egress.control.models import Assignment, Event, Node
from egress.control.models_told import Carry, Pivot
from egress.control.services import egress_disable, node_remove
from egress.control.told import pivots, retention
from egress.control.told.outages import Span, note_carries, outages_of
from egress.wire import messages as wire
from tests.factories import make_cluster, make_node, make_user

from .cloud import FileCloud
from .fleet import Fleet, make_fleet

pytestmark = pytest.mark.costly

MINUTE = timedelta(minutes=1)


@pytest.fixture
def active(fleet: Fleet) -> Fleet:
    fleet.bring_up()
    # An hour old, so that what nodes tell of the last minutes falls into its time.
    Assignment.objects.update(created_at=clock.now() - timedelta(hours=1))
    return fleet


def milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def pivot(number: int, at: datetime, *, pair: int = 1, gateway: object = "", reason: str = "silent") -> wire.Pivot:
    return wire.Pivot(number=number, at=milliseconds(at), pair=pair, gateway=str(gateway), reason=reason)


def report(fleet: Fleet, *told: wire.Pivot, node: int = 0, containers: int = 1) -> wire.Done:
    message = wire.NodeReport(
        boot_id="boot",
        agent_version="1",
        dataplane="ok",
        containers={fleet.app.namespace: containers} if containers else {},
        pivots=told,
    )
    return agents.node_report(token=f"node-token-{fleet.nodes[node].name}", message=message)


def kept() -> list[int]:
    return list(Pivot.objects.order_by("number").values_list("number", flat=True))


def left_out() -> str:
    return "; ".join(Event.objects.filter(subject="node.pivots").values_list("reason", flat=True))


def test_pivots_are_kept_with_the_nodes_own_times_and_acknowledged(active: Fleet) -> None:
    first = active.gateways()[1]
    at = clock.unmoved() - 3 * MINUTE
    told = (pivot(1, at, gateway=first.pk, reason="A is silent"), pivot(2, at + MINUTE))
    assert report(active, *told).ok
    rows = list(Pivot.objects.order_by("number"))
    assert [row.gateway for row in rows] == [first, None]
    assert {row.assignment for row in rows} == {active.assignment}
    assert abs(rows[0].at - at) < timedelta(milliseconds=1)
    assert rows[0].reason == "A is silent"


def test_what_is_told_twice_is_kept_once(active: Fleet) -> None:
    told = [pivot(number, clock.unmoved() - MINUTE) for number in range(5)]
    for count in (3, 5, 5):
        report(active, *told[:count], *told[:count])
    assert kept() == [0, 1, 2, 3, 4]
    report(active, told[0], node=1)
    assert len(kept()) == 6, "another node counts for itself"


def test_a_node_that_lost_its_disk_begins_to_count_anew(active: Fleet) -> None:
    at = clock.unmoved() - 5 * MINUTE
    report(active, pivot(1, at))
    report(active, pivot(1, at + MINUTE))
    assert kept() == [1, 1]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda now: pivot(1, now + 6 * MINUTE), "in the future: check the node's clock"),
        (lambda _: wire.Pivot(number=1, at=2**63 - 1, pair=1), "in the future: check the node's clock"),
        (lambda now: pivot(1, now - timedelta(days=41)), "older than 40 days: check the node's clock"),
        (lambda _: wire.Pivot(number=1, at=0, pair=1), "older than 40 days: check the node's clock"),
        (lambda now: pivot(1, now - timedelta(hours=2)), "of a pair that its cluster didn't have then"),
        (lambda now: pivot(1, now, pair=2), "of a pair that its cluster didn't have then"),
        (lambda now: pivot(1, now, gateway="gw-of-nobody"), "to a gateway that isn't the pair's"),
    ],
)
def test_what_cannot_be_true_is_left_out_with_a_reason_and_the_rest_is_kept(
    active: Fleet, wrong: Callable[[datetime], wire.Pivot], why: str
) -> None:
    now = clock.unmoved()
    for _ in range(2):
        assert report(active, wrong(now), pivot(7, now)).ok
    assert kept() == [7]
    assert left_out() == f"pivots that it told were left out: 1 {why}", "and told once an hour, not each time"
    assert Node.objects.get(pk=active.nodes[0].pk).containers, "the report itself counts"


def test_a_pair_or_gateway_of_another_cluster_is_left_out(active: Fleet, cloud: FileCloud) -> None:
    other = make_fleet(cloud)
    other.bring_up()
    foreign = other.gateways()[0]
    report(active, pivot(1, clock.unmoved(), gateway=foreign.pk))
    stranger = make_node(make_cluster(), name="stranger")
    message = wire.NodeReport(boot_id="b", agent_version="1", dataplane="ok", pivots=(pivot(1, clock.unmoved()),))
    agents.node_report(token=f"node-token-{stranger.name}", message=message)
    assert kept() == []
    assert Event.objects.filter(subject="node.pivots").count() == 2


def test_a_released_pairs_number_is_the_heirs_only_from_its_time_on(active: Fleet) -> None:
    old, now = active.assignment, clock.now()
    egress_disable(app=active.app, actor=active.user)
    Assignment.objects.filter(pk=old.pk).update(status="released", released_at=now - 30 * MINUTE)
    heir = Assignment.objects.create(app=active.app, cluster=active.cluster, pair=old.pair)
    Assignment.objects.filter(pk=heir.pk).update(created_at=now - 10 * MINUTE)
    report(active, *(pivot(number, now - age * MINUTE) for number, age in enumerate((40, 20, 2))))
    assert list(Pivot.objects.order_by("number").values_list("number", "assignment")) == [(0, old.pk), (2, heir.pk)]


def test_a_node_that_tells_without_end_fills_no_table(active: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivots, "MAX_PER_DAY", 10)
    for start in (0, 8, 16):
        told = (pivot(start + number, clock.unmoved()) for number in range(8))
        assert report(active, *told).ok
    assert kept() == list(range(10))
    assert "more than 10 in a day" in left_out()
    report(active, pivot(1, clock.unmoved()), node=1)
    assert len(kept()) == 11, "the others' are kept"


def test_the_cost_does_not_grow_with_what_is_told(active: Fleet, django_assert_max_num_queries: Callable) -> None:
    gateway = active.gateways()[0].pk
    told = [pivot(number, clock.unmoved(), gateway=gateway) for number in range(wire.MAX_PIVOTS)]
    with django_assert_max_num_queries(20):
        report(active, *told)
    assert len(kept()) == wire.MAX_PIVOTS


def test_outages_follow_from_pivots_and_from_who_carried_the_app(active: Fleet) -> None:
    now = clock.now()
    note_carries()
    Carry.objects.update(since=now - 30 * MINUTE)
    begun, ended = now - 20 * MINUTE, now - 10 * MINUTE
    gateway = active.gateways()[0].pk
    report(active, pivot(1, begun), pivot(2, ended, gateway=gateway))
    assert outages_of(active.assignment, now - 30 * MINUTE, now) == [], "the other node had its gateway"
    report(active, pivot(1, begun + MINUTE), pivot(2, ended + MINUTE, gateway=gateway), node=1)
    (span,) = outages_of(active.assignment, now - 30 * MINUTE, now)
    assert abs(span.begin - begun - MINUTE) < timedelta(milliseconds=1)
    assert abs(span.end - ended) < timedelta(milliseconds=1)


def test_an_outage_buffered_while_the_control_plane_was_away_counts_for_its_own_time(
    active: Fleet, settings: Settings
) -> None:
    note_carries()
    since = Carry.objects.earliest("since").since
    settings.CLOCK_OFFSET_SECONDS += 3600
    now = clock.now()
    assert outages_of(active.assignment, since, now) == []
    # The lab's clock is an hour ahead of the nodes': their times are moved with it.
    early = clock.unmoved() - timedelta(seconds=40)
    settings.CLOCK_OFFSET_SECONDS += 60
    for node in (0, 1):
        report(
            active, pivot(1, early), pivot(2, early + timedelta(seconds=30), gateway=active.gateways()[0].pk), node=node
        )
    (span,) = outages_of(active.assignment, since, clock.now())
    assert span.end - span.begin == timedelta(seconds=30)
    assert span.begin - early - timedelta(seconds=3660) < timedelta(milliseconds=1)
    settings.CLOCK_OFFSET_SECONDS += 30 * 86_400
    assert outages_of(active.assignment, since, clock.now()) == [span], "months that a lab lets pass move none"


def test_carries_begin_and_end_with_what_nodes_report(active: Fleet) -> None:
    for _ in range(2):
        note_carries()
    assert Carry.objects.filter(until=None).count() == 2
    report(active, containers=0)
    node_remove(node=active.nodes[1], actor=make_user())
    for _ in range(2):
        note_carries()
    assert Carry.objects.filter(until=None).count() == 0
    report(active)
    note_carries()
    assert Carry.objects.filter(until=None).count() == 1
    assert Carry.objects.count() == 3


def test_an_open_outage_of_a_node_that_fell_silent_lasts_as_far_as_it_was_heard(
    active: Fleet, settings: Settings
) -> None:
    note_carries()
    now = clock.now()
    for node in (0, 1):
        report(active, pivot(1, clock.unmoved()), node=node)
    settings.CLOCK_OFFSET_SECONDS += 600
    for span in outages_of(active.assignment, now - MINUTE, clock.now()):
        assert span.end - span.begin < MINUTE
    assert all(isinstance(span, Span) for span in outages_of(active.assignment, now - MINUTE, clock.now()))


def test_what_is_old_is_forgotten_and_nothing_else(active: Fleet, settings: Settings) -> None:
    report(active, *(pivot(number, clock.unmoved()) for number in range(4)))
    old = clock.unmoved() - timedelta(days=settings.EGRESS_TOLD_KEPT_DAYS + 1)
    Pivot.objects.filter(number__lt=2).update(told_at=old)
    note_carries()
    Carry.objects.filter(node=active.nodes[0]).update(since=old, until=old)
    Carry.objects.filter(node=active.nodes[1]).update(since=old)
    for _ in range(2):
        retention.forget()
    assert kept() == [2, 3]
    assert list(Carry.objects.values_list("node", flat=True)) == [active.nodes[1].pk], "what goes on is kept"
