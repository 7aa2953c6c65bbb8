"""What agents tell and ask: each call authenticates, does one thing in one transaction, and touches its own rows."""

import copy
import hmac
import ipaddress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max

from egress.control import clock, events, installation
from egress.control.errors import NotYet, OutsideVpc, Unauthorized, WindowClosed, WrongAddress
from egress.control.health import observe_gateway, observe_node
from egress.control.models import Assignment, Cluster, Event, Gateway, GatewayStatus, Node, NodeStatus
from egress.control.told import pivots, traffic
from egress.control.wake import WAITING_FOR_GATEWAYS, wake, wake_waiting
from egress.wire.messages import (
    Done,
    GatewayEnrol,
    GatewayEnrolled,
    GatewayReport,
    GatewaySync,
    GatewaySyncRequest,
    NodeJoin,
    NodeJoined,
    NodeReport,
)
from egress.wire.scrape import token_digest
from portal.accounts.models import token_hash

from . import credentials

#: What of a node's report is kept as it came.
_REPORTED = (
    "boot_id", "agent_version", "dataplane", "detail", "containers", "in_doubt", "flows", "gateways", "reasons",
)  # fmt: skip
#: And what of a gateway's.
_SAID = (
    "boot_id", "agent_version", "forwarding", "detail", "flows", "bytes_out", "link", "internet", "targets",
    "conntrack_entries", "conntrack_limit", "snat_ports_worst",
)  # fmt: skip
_GONE = (GatewayStatus.DELETING, GatewayStatus.DELETED)

# --- nodes -----------------------------------------------------------------------------------------------------------


def node_join(*, token: str, message: NodeJoin) -> NodeJoined:
    """Take a node into the cluster whose join token this is, or take it back, with a new credential.

    Raises Unauthorized, OutsideVpc.
    """
    credential = credentials.new_token(Node)
    with transaction.atomic():
        # Locks the row: ordinals are given out one after the other.
        cluster = Cluster.objects.select_for_update().filter(join_token_hash=token_hash(token)).first()
        if cluster is None:
            raise Unauthorized("This join token isn't valid: ask an operator for the cluster's present one.")
        if ipaddress.IPv4Address(message.private_address) not in ipaddress.IPv4Network(cluster.vpc):
            raise OutsideVpc(f"{message.private_address} isn't in the cluster's VPC {cluster.vpc}: check the agent.")
        node = _joined(cluster, message, credential)
    return NodeJoined(node_id=str(node.pk), token=credential)


def _joined(cluster: Cluster, message: NodeJoin, credential: str) -> Node:
    own: dict[str, Any] = {
        "private_address": message.private_address,
        "boot_id": message.boot_id,
        "agent_version": message.agent_version,
        "status": NodeStatus.LIVE,
    }
    old = Node.objects.filter(cluster=cluster, name=message.name).first()
    own |= credentials.issued(credential, instead_of=old)
    if old is None:
        last = cluster.nodes.aggregate(last=Max("ordinal"))["last"]
        node = Node.objects.create(cluster=cluster, name=message.name, ordinal=0 if last is None else last + 1, **own)
    else:
        Node.objects.filter(pk=old.pk).update(joined_at=clock.now(), **own)
        node = Node.objects.get(pk=old.pk)
    if old is None or (old.private_address, old.status) != (node.private_address, node.status):
        Cluster.objects.filter(pk=cluster.pk).update(clients_revision=F("clients_revision") + 1)
        events.record(
            Event.Kind.NODE, "node.status", on=node, old=old.status if old else "", new=node.status,
            reason=f"joined with {node.private_address}",
        )  # fmt: skip
    elif old.token_hash:
        reason = "joined again with the join token: as expected if its state was lost or its system laid anew"
        events.record(Event.Kind.SECURITY, "node.credential", on=node, new="replaced", reason=reason)
    return node


def node_report(*, token: str, message: NodeReport) -> Done:
    """Keep what a node sees, and wake who waits for it. Raises Unauthorized."""
    node = _node(token)
    before = copy.copy(node)
    for name in _REPORTED:
        setattr(node, name, getattr(message, name))
    node.reported_at = clock.now()
    with transaction.atomic():
        node.save(update_fields=[*_REPORTED, "reported_at"])
        observe_node(node)
        pivots.keep(node, message.pivots)
        if _lets_others_go_on(before, node):
            wake_waiting(node.cluster_id, up_to_revision=node.applied_revision)
    return Done()


def _lets_others_go_on(old: Node, node: Node) -> bool:
    """Say whether this report is news to an assignment that waits: not every one of thousands a minute is."""
    if node.dataplane == "unsupported" and _emptied(old.containers, node.containers):
        return True
    works_now = node.dataplane in {"ok", "unsupported"} and old.dataplane != node.dataplane
    told_before = old.reported_at is not None and node.applied_at is not None and old.reported_at >= node.applied_at
    first_since_applied = node.applied_at is not None and not told_before
    emptied = _emptied(old.flows, node.flows) or _emptied(old.in_doubt, node.in_doubt)
    return works_now or first_since_applied or emptied


def _emptied(before: dict[str, int], after: dict[str, int]) -> bool:
    """Say whether something that was counted isn't there any more."""
    return any(count and not after.get(key) for key, count in before.items())


def _node(token: str) -> Node:
    node = credentials.known(Node.objects.select_related("cluster").filter(status=NodeStatus.LIVE), token)
    if node is None:
        raise Unauthorized("This node credential isn't valid (any more): join again.")
    return node


# --- gateways --------------------------------------------------------------------------------------------------------


def gateway_enrol(*, token: str, message: GatewayEnrol, remote_address: str) -> GatewayEnrolled:
    """Give a gateway its credential; a second enrolment inside the window replaces the first, and operators are told.

    Raises Unauthorized, WindowClosed, WrongAddress, and NotYet while its address isn't known.
    """
    gateway = _enrolling(token, message.gateway_id)
    if gateway.public_address is None:
        # It is up before we know its address: ask the provider now.
        wake([gateway.assignment_id])
        raise NotYet
    if gateway.enrolment_until is None or gateway.enrolment_until < clock.now():
        # The rebuilt system may be up before the provider says so, and asks again.
        if gateway.provisioning_status != GatewayStatus.MAINTENANCE:
            events.alarm("gateway.enrolment", on=gateway, new="outside its window", reason=_OUTSIDE + remote_address)
        raise WindowClosed
    if remote_address != gateway.public_address:
        events.alarm("gateway.enrolment", on=gateway, new="from elsewhere", reason=_ELSEWHERE + remote_address)
        raise WrongAddress
    return GatewayEnrolled(token=_enrolled(gateway, message))


_OUTSIDE = (
    "its enrolment secret was used while no window was open: the gateway has lost its credential and needs a rebuild,"
    " or somebody read its user data; it came from "
)
_ELSEWHERE = (
    "its enrolment secret came from an address that isn't its own: somebody read its user data, or a proxy hides the"
    " callers' addresses from us; it came from "
)
_AGAIN = (
    "it enrolled again, and its first credential is void: as expected if an answer to it got lost, or after a restore;"
    " else somebody on it knows its secret: should its first credential be used again, rebuild it"
)


def _enrolled(gateway: Gateway, message: GatewayEnrol) -> str:
    """Give `gateway` its credential. Raises WindowClosed where the window closed meanwhile."""
    credential = credentials.new_token(Gateway)
    with transaction.atomic():
        # Locks the row: of two who enrol at once, the second is told of.
        open_window = Gateway.objects.filter(pk=gateway.pk, enrolment_until=gateway.enrolment_until)
        row = open_window.select_for_update().first()
        if row is None:
            raise WindowClosed
        issued = credentials.issued(credential, instead_of=row)
        open_window.update(**issued, boot_id=message.boot_id, agent_version=message.agent_version)
        if row.token_hash:
            events.record(Event.Kind.SECURITY, "gateway.credential", on=row, new="replaced", reason=_AGAIN)
    return credential


def _enrolling(token: str, gateway_id: str) -> Gateway:
    """Return the gateway whose secret this is; a wrong secret and an unknown gateway look the same."""
    try:
        key = UUID(gateway_id)
    except ValueError:
        raise Unauthorized from None
    gateway = Gateway.objects.exclude(provisioning_status__in=_GONE).filter(pk=key).first()
    expected = gateway.enrolment_hash if gateway else ""
    if not hmac.compare_digest(expected, token_hash(token)) or gateway is None:
        raise Unauthorized("This enrolment secret isn't valid for this gateway.")
    return gateway


def gateway_acknowledge(*, token: str, message: GatewaySyncRequest) -> Gateway:
    """Take note of the client list that a gateway applied, and return the gateway. Raises Unauthorized."""
    gateway = _gateway(token)
    # A revision that we never gave out acknowledges nothing.
    ours = message.applied_revision <= gateway.assignment.cluster.clients_revision
    applied = message.applied_revision if ours else 0
    if gateway.applied_clients_revision != applied:
        gateway.applied_clients_revision = applied
        with transaction.atomic():
            gateway.save(update_fields=["applied_clients_revision"])
            _wake_waiting(gateway)
    return gateway


def gateway_clients(*, token: str, message: GatewaySyncRequest) -> GatewaySync:
    """Return whose packets the gateway forwards, and whom it asks whether it has internet.

    Raises Unauthorized, also when it was given up while it waited, and StandsStill when it must keep what it has.
    """
    del message
    gateway = _gateway(token)
    installation.require_going()
    cluster = gateway.assignment.cluster
    live = Node.objects.filter(cluster=cluster, status=NodeStatus.LIVE).order_by("ordinal")
    return GatewaySync(
        revision=cluster.clients_revision,
        public_address=gateway.public_address or "",
        vpc=cluster.vpc,
        # An address that a new node inherited counts once.
        clients=tuple(dict.fromkeys(live.values_list("private_address", flat=True))),
        targets=tuple(cluster.internet_targets),
        scrapers=tuple(cluster.scrapers),
        scrape_digest=token_digest(settings.METRICS_TOKEN) if settings.METRICS_TOKEN and cluster.scrapers else "",
        app=str(gateway.assignment.app_id),
        slot=gateway.slot,
        probe_key=cluster.probe_key,
        credential=credentials.offer(gateway),
    )


def gateway_report(*, token: str, message: GatewayReport) -> Done:
    """Keep what a gateway sees of itself, and wake its assignment when it begins to forward. Raises Unauthorized."""
    gateway = _gateway(token)
    begins = message.forwarding and not gateway.forwarding
    for name in _SAID:
        setattr(gateway, name, getattr(message, name))
    gateway.reported_at = clock.now()
    with transaction.atomic():
        gateway.save(update_fields=[*_SAID, "reported_at"])
        traffic.count(gateway, message.boot_id, message.bytes_out)
        recovered = gateway.health != "healthy"
        observe_gateway(gateway)
        if begins or recovered:
            _wake_waiting(gateway)
    return Done()


def _wake_waiting(gateway: Gateway) -> None:
    waiting = Assignment.objects.filter(WAITING_FOR_GATEWAYS, pk=gateway.assignment_id)
    wake(waiting.values_list("pk", flat=True))


def _gateway(token: str) -> Gateway:
    known = Gateway.objects.select_related("assignment__cluster").exclude(provisioning_status__in=_GONE)
    gateway = credentials.known(known, token)
    if gateway is None:
        raise Unauthorized("This gateway credential isn't valid (any more): enrol again.")
    return gateway
