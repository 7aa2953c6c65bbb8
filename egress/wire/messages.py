"""Version 1 of the messages between control plane and agents.

Compatible change: add a field with a default. Anything else is a new version under a new path prefix.
Every list and text has a bound; the bodies themselves are bound by `MAX_REQUEST_BYTES` and `MAX_REPLY_BYTES`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from .codec import Address, Bounds, Count, Identifier, Namespace, Network, Pattern, Text

PREFIX = "/agent/v1/"
MAX_REQUEST_BYTES = 256 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
MAX_WAIT_SECONDS = 50
MAX_ROUTES = 20_000
MAX_NODES = 5_000
MAX_PIVOTS = 500
MAX_TARGETS = 8
MAX_SCRAPERS = 8

#: Visible ASCII: it travels in a header.
Secret = Annotated[str, Bounds(16, 200), Pattern(r"[!-~]+")]
#: A new bearer token in the place of the one in use, or "".
Offer = Annotated[str, Bounds(0, 200), Pattern(r"[!-~]*")]
WaitSeconds = Annotated[int, Bounds(0, MAX_WAIT_SECONDS)]
#: A pair's number: unique in its cluster among assignments that aren't released.
PairNumber = Annotated[int, Bounds(1, 65_535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """The body of every answer that isn't 200."""

    code: Identifier
    message: Text


# --- nodes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoin:
    """A node presents itself, with its cluster's join token as bearer token. Repeating it rotates the credential."""

    name: Identifier
    private_address: Address
    boot_id: Identifier
    agent_version: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined:
    """The node's own credential, to be used as bearer token from now on; only its hash is kept by the control plane."""

    node_id: Identifier
    token: Secret = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How nodes judge gateways. The bounds are what was found to be safe: see docs/adr/0017-suspect-and-dead.md."""

    interval_ms: Annotated[int, Bounds(50, 1_000)] = 100
    #: So many rounds in a row without a good answer: new connections take the peer.
    misses_to_suspect: Annotated[int, Bounds(2, 10)] = 3
    #: So long without a sign of life: its connections are reset.
    dead_after_ms: Annotated[int, Bounds(1_000, 30_000)] = 2_000
    #: A gateway that came back must be good for so long before new connections prefer it again.
    hold_down_seconds: Annotated[int, Bounds(0, 3_600)] = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What an agent must know of its cluster to steer packets there.

    `mark_mask` is a contiguous run of bits in the packet mark that is ours alone; `rule_priority` and
    `table_base` start ranges of 4096 policy rules and route tables.
    """

    vpc: Network
    #: Destinations that aren't the internet: pods, services, VPCs, load balancers. Link-local and loopback are implied.
    local_networks: Annotated[tuple[Network, ...], Bounds(0, 200)]
    mark_mask: Annotated[int, Bounds(1, 2**32 - 1)] = 0x0FFF0000
    rule_priority: Annotated[int, Bounds(1, 28_000)] = 5_000
    table_base: Annotated[int, Bounds(1_000, 2**31)] = 52_000
    #: Source ports of diverted traffic on the node: outside the NodePort range (30000-32767).
    snat_ports: Annotated[tuple[Annotated[int, Bounds(1_024, 65_535)], ...], Bounds(2, 2)] = (32_768, 65_535)
    #: Connections on a path that was left are cut after this long.
    flow_deadline_seconds: Annotated[int, Bounds(0, 7 * 86_400)] = 3_600
    probing: Probing = field(default_factory=Probing)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteGateway:
    """One gateway of a pair, as its nodes see it. A gateway that isn't usable for new connections is `draining`."""

    id: Identifier
    slot: Annotated[int, Bounds(0, 1)]
    private_address: Address
    public_address: Address
    state: Literal["active", "draining"] = "active"
    #: Proof by the provider that it is off or being laid anew: what runs over it can't go on.
    down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a namespace's internet traffic goes.

    `active`: new connections take the pair. `draining`: new connections take the shared path again, those
    that the pair carries go on. A node's own slot of the pair is `(ordinal + spread) % 2`.
    """

    namespace: Namespace
    pair: PairNumber
    state: Literal["active", "draining"]
    gateways: Annotated[tuple[RouteGateway, ...], Bounds(1, 2)]
    spread: Annotated[int, Bounds(0, 1)] = 0
    on_outage: Literal["reject", "shared"] = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSyncRequest:
    """Ask for what came after `applied_revision`; asking acknowledges that revision as applied.

    `epoch` names the history that the revision belongs to (a restored database starts a new one); empty at
    the first call. The control plane holds the answer up to `wait_seconds` when there is nothing new.
    """

    epoch: Annotated[str, Bounds(0, 64)]
    applied_revision: Count
    wait_seconds: WaitSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSync:
    """Routes changed since the revision asked from; with `full`, all there are, and others must go."""

    epoch: Identifier
    revision: Count
    full: bool
    routes: Annotated[tuple[Route, ...], Bounds(0, MAX_ROUTES)]
    removed: Annotated[tuple[Namespace, ...], Bounds(0, MAX_ROUTES)]
    settings: ClusterSettings
    ordinal: Count
    #: Hex; keys the probes between nodes and gateways of the cluster.
    probe_key: Annotated[str, Bounds(0, 128)] = field(default="", repr=False)
    #: To be kept on disk and used from now on; its first use makes the old one void.
    credential: Offer = field(default="", repr=False)


#: Why a node keeps new connections off a gateway: it hears nothing from it; for so long, or with such proof, that its
#: connections were reset; or what the gateway says of itself.
Reason = Literal["silent", "dead", "not_forwarding", "no_link", "no_internet", "leaving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pivot:
    """Where a pair's new connections go on this node from `at` on (Unix milliseconds, by the node's clock).

    `gateway` is an id, "" where none can be used: an outage of the pair here. `number` grows with each; it is kept on
    disk, so that what is told twice is known as such.
    """

    number: Count
    at: Count
    pair: PairNumber
    gateway: Annotated[str, Bounds(0, 64)] = ""
    reason: Text = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What a node sees, sent on change and at least every 10 s; it also shows that the node lives."""

    boot_id: Identifier
    agent_version: Identifier
    dataplane: Literal["ok", "starting", "unsupported", "failed"]
    detail: Text = ""
    #: Containers per namespace: all of them, not only those with dedicated egress.
    containers: Annotated[dict[Namespace, Count], Bounds(0, MAX_ROUTES)] = field(default_factory=dict)
    #: Of these, those that came while the network was unsupported: their packets may go past all rules, also now.
    in_doubt: Annotated[dict[Namespace, Count], Bounds(0, MAX_ROUTES)] = field(default_factory=dict)
    #: Connections that this node still has on each gateway, by the gateway's id.
    flows: Annotated[dict[Identifier, Count], Bounds(0, MAX_ROUTES)] = field(default_factory=dict)
    #: What this node's probes say of each gateway in use, by the gateway's id.
    gateways: Annotated[dict[Identifier, Literal["healthy", "unhealthy", "unknown"]], Bounds(0, MAX_ROUTES)] = field(
        default_factory=dict
    )
    #: Why, for each that is unhealthy.
    reasons: Annotated[dict[Identifier, Reason], Bounds(0, MAX_ROUTES)] = field(default_factory=dict)
    #: The oldest ones not yet acknowledged by a `Done`, in order.
    pivots: Annotated[tuple[Pivot, ...], Bounds(0, MAX_PIVOTS)] = ()


# --- gateways --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEnrol:
    """A gateway presents itself, with the enrolment secret of its user data as bearer token.

    It works only from the gateway's own public address and while the control plane holds a window open.
    """

    gateway_id: Identifier
    boot_id: Identifier
    agent_version: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEnrolled:
    """The gateway's own credential; a rebuild enrols again and so replaces it."""

    token: Secret = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySyncRequest:
    """Ask for a client list other than the one applied; asking acknowledges `applied_revision`."""

    applied_revision: Count
    wait_seconds: WaitSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySync:
    """Whose packets to forward: the private addresses of the cluster's nodes, and no others.

    `probe_key` (hex) keys the probes between nodes and gateways of the cluster.
    """

    revision: Count
    public_address: Address
    vpc: Network
    clients: Annotated[tuple[Address, ...], Bounds(0, MAX_NODES)]
    #: Addresses in the internet by which it tells whether it has any.
    targets: Annotated[tuple[Address, ...], Bounds(0, MAX_TARGETS)] = ()
    #: Who may ask for its metrics, on the private side, and the SHA-256 (hex) of the token to be shown; "" for nobody.
    scrapers: Annotated[tuple[Address, ...], Bounds(0, MAX_SCRAPERS)] = ()
    scrape_digest: Annotated[str, Bounds(0, 64), Pattern(r"([0-9a-f]{64})?")] = ""
    #: Whose traffic it carries, for its metrics: the app's id, and its own place in the pair.
    app: Annotated[str, Bounds(0, 64)] = ""
    slot: Annotated[int, Bounds(0, 1)] = 0
    probe_key: Annotated[str, Bounds(0, 128)] = field(default="", repr=False)
    #: As in NodeSync.
    credential: Offer = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReport:
    """What a gateway sees of itself, sent on change and at least every 10 s."""

    boot_id: Identifier
    agent_version: Identifier
    #: True when the ruleset is in place and forwarding is on.
    forwarding: bool
    detail: Text = ""
    flows: Count = 0
    bytes_out: Count = 0
    #: What it sees of its own way out: its public link and next hop, and at least one of the targets.
    link: bool = True
    internet: bool = True
    #: The latest answer of each target, by its address: False for none within its time.
    targets: Annotated[dict[Address, bool], Bounds(0, MAX_TARGETS)] = field(default_factory=dict)
    conntrack_entries: Count = 0
    conntrack_limit: Count = 0
    #: Source ports in use towards the one destination (address, port, protocol) that takes most; of 64,512.
    snat_ports_worst: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The answer to a report."""

    ok: bool = True
