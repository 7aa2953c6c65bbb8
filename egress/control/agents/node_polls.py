"""What nodes that poll tell and ask, many at once: a route change makes all of a cluster come at the same moment.

Each list of polls costs as many queries as one poll. An answer that isn't one is the error to raise.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from django.db import transaction

from egress.control import clock, distribution, installation
from egress.control.errors import EgressError, StandsStill, Unauthorized
from egress.control.models import Node, NodeStatus
from egress.control.wake import wake_waiting
from egress.wire.messages import NodeSync, NodeSyncRequest

from . import credentials


class Poll(NamedTuple):
    """A node's request to be told, and the token that it came with."""

    token: str
    message: NodeSyncRequest


def acknowledge(polls: Sequence[Poll]) -> list[Node | EgressError]:
    """Take note of what nodes applied, wake who waits for it, and return the nodes; Unauthorized for strangers."""
    nodes = _nodes(polls)
    moved: dict[Node, tuple[str, int]] = {}
    for node, poll in zip(nodes, polls, strict=True):
        if isinstance(node, EgressError):
            continue
        applied = _applied(node, poll.message)
        if applied != (node.applied_epoch, node.applied_revision):
            node.applied_epoch, node.applied_revision = moved[node] = applied
    if moved:
        _note(list(moved))
    return nodes


def _applied(node: Node, message: NodeSyncRequest) -> tuple[str, int]:
    """Return what a node's acknowledgement counts for, as epoch and revision."""
    same = message.epoch == str(node.cluster.epoch)
    if same and message.applied_revision > node.cluster.revision:
        installation.note_ahead(node)
    # A revision of another history, or one that we never gave out, acknowledges nothing.
    ours = same and node.ahead_since is None
    return (message.epoch, message.applied_revision) if ours else ("", 0)


def _note(nodes: list[Node]) -> None:
    now = clock.now()
    with transaction.atomic():
        for (epoch, revision), same in groupby(sorted(nodes, key=_position), key=_position):
            keys = [node.pk for node in same]
            Node.objects.filter(pk__in=keys).update(applied_epoch=epoch, applied_revision=revision, applied_at=now)
        for cluster_id, own in groupby(sorted(nodes, key=_cluster_id), key=_cluster_id):
            wake_waiting(cluster_id, up_to_revision=max(node.applied_revision for node in own))


def _position(node: Node) -> tuple[str, int]:
    return node.applied_epoch, node.applied_revision


def _cluster_id(node: Node) -> int:
    return node.cluster_id


def tell(polls: Sequence[Poll]) -> list[NodeSync | EgressError]:
    """Return what nodes must learn.

    Unauthorized also for one that was removed while it waited; StandsStill for one that must keep what it has.
    """
    nodes = _nodes(polls)
    still = installation.why_still()
    shared: dict[tuple[int, str, int], NodeSync] = {}
    answers: list[NodeSync | EgressError] = []
    for node, (_, message) in zip(nodes, polls, strict=True):
        if isinstance(node, EgressError):
            answers.append(node)
        elif still:
            answers.append(StandsStill())
        elif node.ahead_since is not None and message.epoch == str(node.cluster.epoch):
            answers.append(
                StandsStill("This node has a newer revision than the control plane, which was restored: it keeps that.")
            )
        else:
            place = node.cluster_id, message.epoch, message.applied_revision
            if place not in shared:
                shared[place] = distribution.delta(node.cluster, message.epoch, message.applied_revision)
            answers.append(replace(shared[place], ordinal=node.ordinal, credential=credentials.offer(node)))
    return answers


def _nodes(polls: Sequence[Poll]) -> list[Node | EgressError]:
    # What their reports have filled isn't wanted here.
    rows = Node.objects.select_related("cluster").defer("detail", "containers", "flows", "gateways")
    nodes = credentials.all_known(rows.filter(status=NodeStatus.LIVE), [poll.token for poll in polls])
    return [node or Unauthorized("This node credential isn't valid (any more): join again.") for node in nodes]
