"""Polls of many nodes at once: each is told its own, and all cost as many queries as one."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from egress.control import clock, distribution, installation
from egress.control.agents import node_polls
from egress.control.agents.node_polls import Poll
from egress.control.errors import EgressError, StandsStill, Unauthorized
from egress.control.models import Assignment, Cluster, Node, NodeStatus
from egress.wire.messages import NodeSync, NodeSyncRequest
from portal.accounts.models import token_hash
from tests.factories import make_cluster, make_node

from .fleet import Fleet

NODES = 5


@pytest.fixture
def cluster(db: None) -> Cluster:
    cluster = make_cluster()
    for _ in range(NODES):
        make_node(cluster)
    for name in "abc":
        distribution.publish(cluster.pk, name, None)
    cluster.refresh_from_db()
    return cluster


def polls(cluster: Cluster, applied: int, names: range = range(1, NODES + 1)) -> list[Poll]:
    message = NodeSyncRequest(epoch=str(cluster.epoch), applied_revision=applied, wait_seconds=0)
    return [Poll(f"node-token-node-{number}", message) for number in names]


def told(answers: list[NodeSync | EgressError]) -> list[NodeSync]:
    assert all(isinstance(answer, NodeSync) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, NodeSync)]


def cost(of: Any, asked: list[Poll]) -> int:
    with CaptureQueriesContext(connection) as queries:
        of(asked)
    return len(queries)


def test_many_that_follow_a_change_cost_as_many_queries_as_one(cluster: Cluster) -> None:
    installation.here()
    asked = polls(cluster, applied=3)
    assert cost(node_polls.tell, asked[1:]) == cost(node_polls.tell, asked[:1])
    assert cost(node_polls.acknowledge, asked[1:]) == cost(node_polls.acknowledge, asked[:1])
    assert set(Node.objects.values_list("applied_epoch", "applied_revision")) == {(str(cluster.epoch), 3)}


def test_who_has_nothing_to_say_writes_nothing(cluster: Cluster) -> None:
    asked = polls(cluster, applied=3)
    node_polls.acknowledge(asked)
    assert cost(node_polls.acknowledge, asked) == 1


def test_each_acknowledges_what_it_has_itself(cluster: Cluster) -> None:
    one, two, three = polls(cluster, applied=1)[0], polls(cluster, applied=2)[1], polls(cluster, applied=3)[2]
    another = NodeSyncRequest(epoch="another", applied_revision=3, wait_seconds=0)
    node_polls.acknowledge([three, Poll(polls(cluster, 0)[3].token, another), one, two])
    applied = Node.objects.order_by("ordinal").values_list("applied_epoch", "applied_revision")
    assert list(applied[:4]) == [(str(cluster.epoch), number) for number in (1, 2, 3)] + [("", 0)]


def test_of_two_polls_of_one_node_the_later_counts(cluster: Cluster) -> None:
    node_polls.acknowledge([polls(cluster, applied=3)[0], polls(cluster, applied=2)[0]])
    assert Node.objects.get(name="node-1").applied_revision == 2


def test_each_is_told_what_it_missed_itself_and_its_own_ordinal(cluster: Cluster) -> None:
    asked = [polls(cluster, applied=since)[at] for at, since in enumerate((2, 1, 2, 0, 3))]
    answers = told(node_polls.tell(asked))
    assert [answer.removed for answer in answers] == [("c",), ("b", "c"), ("c",), (), ()]
    assert [answer.full for answer in answers] == [False, False, False, True, False]
    assert [answer.ordinal for answer in answers] == list(range(NODES))


def test_clusters_that_stand_at_the_same_revision_are_told_their_own(cluster: Cluster) -> None:
    other = make_cluster()
    make_node(other, name="elsewhere")
    distribution.publish(other.pk, "x", None)
    ask = NodeSyncRequest(epoch="", applied_revision=0, wait_seconds=0)
    answers = told(node_polls.tell([Poll("node-token-node-1", ask), Poll("node-token-elsewhere", ask)]))
    assert [(answer.epoch, answer.revision) for answer in answers] == [(str(cluster.epoch), 3), (str(other.epoch), 1)]


@pytest.mark.parametrize("half", [node_polls.acknowledge, node_polls.tell])
def test_one_that_is_nobody_is_told_so_and_the_others_are_served(cluster: Cluster, half: Any) -> None:
    Node.objects.filter(name="node-2").update(status=NodeStatus.REMOVED)
    asked = [*polls(cluster, applied=2), Poll("node-token-stranger", polls(cluster, 0)[0].message)]
    refused = [isinstance(answer, Unauthorized) for answer in half(asked)]
    assert refused == [False, True, False, False, False, True]
    assert all(isinstance(answer, EgressError) == no for answer, no in zip(half(asked), refused, strict=True))


def test_while_it_is_held_nobody_is_told_anything(cluster: Cluster) -> None:
    installation.hold(reason="a test")
    assert {type(answer) for answer in node_polls.tell(polls(cluster, applied=2))} == {StandsStill}


def test_one_that_is_ahead_keeps_what_it_has_and_the_others_are_told(cluster: Cluster) -> None:
    asked = [polls(cluster, applied=99)[0], *polls(cluster, applied=2)[1:]]
    node_polls.acknowledge(asked)
    first, *others = node_polls.tell(asked)
    assert isinstance(first, StandsStill)
    assert {answer.removed for answer in told(others)} == {("c",)}


def test_each_is_offered_a_credential_of_its_own_and_young_ones_keep_theirs(
    cluster: Cluster, settings: Settings
) -> None:
    old = clock.unmoved() - timedelta(seconds=settings.AGENT_TOKEN_RENEW_SECONDS + 60)
    Node.objects.filter(ordinal__lt=3).update(token_at=old)
    offered = [answer.credential for answer in told(node_polls.tell(polls(cluster, applied=2)))]
    assert len(set(offered[:3])) == 3
    assert offered[3:] == ["", ""]
    kept = Node.objects.order_by("ordinal").values_list("next_token_hash", flat=True)
    assert list(kept[:3]) == [token_hash(token) for token in offered[:3]]


def test_the_first_use_of_an_offer_retires_the_old_one_also_among_many(cluster: Cluster) -> None:
    Node.objects.filter(name="node-1").update(next_token_hash=token_hash("offered"))
    old, *others = polls(cluster, applied=2)
    answers = node_polls.acknowledge([old, Poll("offered", old.message), old, *others])
    assert [isinstance(answer, Unauthorized) for answer in answers] == [False, False, True] + [False] * len(others)
    node = Node.objects.get(name="node-1")
    assert (node.token_hash, node.retired_token_hash) == (token_hash("offered"), token_hash("node-token-node-1"))


def test_what_waits_for_the_newest_of_the_acknowledgements_is_woken(fleet: Fleet) -> None:
    fleet.bring_up()
    Cluster.objects.update(revision=9)
    fleet.cluster.refresh_from_db()
    Assignment.objects.update(status="draining", target_revision=9, due_at=None)
    node_polls.acknowledge([polls(fleet.cluster, applied=8)[0]])
    assert Assignment.objects.get().due_at is None
    Node.objects.update(applied_revision=0)
    node_polls.acknowledge([polls(fleet.cluster, applied=9)[1], polls(fleet.cluster, applied=7)[0]])
    assert Assignment.objects.get().due_at is not None
