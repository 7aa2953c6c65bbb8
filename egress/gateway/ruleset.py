"""Write the gateway's nftables rules: pure text for `nft -f`, which applies each text as one transaction.

One table, ours alone. Two rulesets: `closed` lets nothing through, `open_for` forwards for named clients only.
Every packet that came in through this table is marked; a policy rule (see `kernel`) routes marked packets only, and
so nothing is forwarded while the table is missing.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from egress.wire import probe, scrape

FAMILY = "inet"
TABLE = "sluicegate"
#: The packet mark of what came in through the table. A gateway is a VM of our own: the whole mark is ours.
MARK = 0x51C6
#: New connections that one client may open per second, and at once. Generous: it keeps one node's flood from filling
#: the connection table for the others. A count of open connections would do so too, but costs every new connection a
#: walk over all open ones (measured: 0.4 ms at 50,000).
NEW_PER_SECOND = 1_000
NEW_AT_ONCE = 20_000
#: Probes that one client may send per second: ten times what a node needs.
PROBES_PER_SECOND = 100
#: Echoes in all: each node asks some a second while the gateway's agent is silent, and takes it for dead without them.
ECHOES_PER_SECOND = 2_000
#: Connections for metrics that are let in per second, from all that may ask for them.
SCRAPES_PER_SECOND = 5
#: Not the internet (IANA's special-purpose registry): a gateway forwards nothing there. The documentation networks
#: are left out, since no network routes them, and laboratories use them.
SPECIAL = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
#: Sets that the kernel fills by itself as packets pass.
DYNAMIC_SETS = frozenset({"arrivals", "probers"})
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """Whom to forward for, between which interfaces, and under which address."""

    public_interface: str
    private_interface: str
    public_address: str
    vpc: str
    clients: frozenset[str]
    #: Whom the gateway asks whether it has internet, and what its questions and their answers begin with (8 bytes).
    targets: frozenset[str] = frozenset()
    echo_token: bytes = bytes(8)
    #: Who may ask for metrics, from the private side.
    scrapers: frozenset[str] = frozenset()


def closed() -> str:
    """Return the ruleset that forwards nothing and answers nothing: what holds until the clients are known."""
    return _table(_filter(local="", transit=""))


def open_for(wanted: Forwarding) -> str:
    """Return the whole ruleset for `wanted`, which replaces whatever the table held.

    Raises ValueError for an interface name that doesn't fit into a rule.
    """
    public, private = _quoted(wanted.public_interface), _quoted(wanted.private_interface)
    answers = _answers(wanted, public)
    local = f"""\
		{answers} accept
		udp dport {probe.PORT} jump probes
		iifname {private} ip saddr @clients icmp type echo-request limit rate {ECHOES_PER_SECOND}/second accept
{_scrapes(private, wanted.scrapers)}"""
    decide = _filter(local=local, transit=_transit(public, private))
    chains = _CLASSIFY + _untracked(wanted, answers) + _probes(private) + _OUTBOUND + decide
    return _table(_sets(wanted) + chains + _translate(wanted, public))


def replace_clients(clients: Iterable[str]) -> str:
    """Return the transaction that makes `clients` the only ones, and touches nothing else."""
    elements = _elements(clients)
    add = f"add element {FAMILY} {TABLE} clients {{ {elements} }}\n" if elements else ""
    return f"flush set {FAMILY} {TABLE} clients\n{add}"


def _table(body: str) -> str:
    # Adding before deleting makes the deletion succeed whether or not the table is there.
    return f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\ntable {FAMILY} {TABLE} {{\n{body}}}\n"


_CLASSIFY = f"""\
	chain classify {{
		type filter hook prerouting priority mangle; policy accept;
		meta mark set {MARK:#x}
	}}
"""


def _sets(wanted: Forwarding) -> str:
    elements, targets = _elements(wanted.clients), _elements(wanted.targets)
    refused = ipaddress.collapse_addresses(ipaddress.IPv4Network(each) for each in (*SPECIAL, wanted.vpc))
    return f"""\
	set clients {{
		type ipv4_addr
		{f"elements = {{ {elements} }}" if elements else ""}
	}}
	set targets {{
		type ipv4_addr
		{f"elements = {{ {targets} }}" if targets else ""}
	}}
	set refused {{
		type ipv4_addr
		flags interval
		elements = {{ {", ".join(map(str, refused))} }}
	}}
	set arrivals {{
		type ipv4_addr
		size 8192
		flags dynamic,timeout
		timeout 5m
	}}
	set probers {{
		type ipv4_addr
		size 8192
		flags dynamic,timeout
		timeout 1m
	}}
"""


def _filter(*, local: str, transit: str) -> str:
    """Return the two chains that decide: over packets to the VM itself (no SSH), and over packets in transit.

    `local` and `transit` are rules that accept more than the answers to the VM's own calls and neighbour discovery.
    """
    # `local` comes before what conntrack says, which doesn't see all of it.
    return f"""\
	chain input {{
		type filter hook input priority filter; policy drop;
		iif lo accept
{local}\
		ct state invalid drop
		ct state established,related accept
		icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} ip6 hoplimit 255 accept
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
{transit}\
	}}
"""


def _answers(wanted: Forwarding, public: str) -> str:
    """Return the match for what targets answer to the gateway's own echoes, and for nothing else."""
    token = f"@th,64,64 0x{wanted.echo_token.hex()}"
    return f"iifname {public} ip saddr @targets ip daddr {wanted.public_address} icmp type echo-reply {token}"


def _untracked(wanted: Forwarding, answers: str) -> str:
    """Return the chains that keep the gateway's own echoes, and nodes' probes and pings, out of connection tracking.

    So a client can't take their answers by pings of its own, nor stop them by filling the table.
    """
    token = f"@th,64,64 0x{wanted.echo_token.hex()}"
    public, private = _quoted(wanted.public_interface), _quoted(wanted.private_interface)
    return f"""\
	chain answered {{
		type filter hook prerouting priority raw; policy accept;
		{answers} notrack
		iifname {private} udp dport {probe.PORT} fib daddr type local notrack
		iifname {private} icmp type echo-request fib daddr type local notrack
	}}
	chain asked {{
		type filter hook output priority raw; policy accept;
		oifname {public} ip daddr @targets icmp type echo-request {token} notrack
		oifname {private} udp sport {probe.PORT} notrack
		oifname {private} icmp type echo-reply notrack
	}}
"""


def _probes(private: str) -> str:
    return f"""\
	chain probes {{
		iifname != {private} drop
		ip saddr != @clients drop
		update @probers {{ ip saddr limit rate over {PROBES_PER_SECOND}/second burst {PROBES_PER_SECOND} packets }} drop
		accept
	}}
"""


def _scrapes(private: str, scrapers: Iterable[str]) -> str:
    """Return the rule that lets in who may ask for metrics; none where nobody may."""
    elements = _elements(scrapers)
    if not elements:
        return ""
    new = f"tcp dport {scrape.PORT} ct state new limit rate {SCRAPES_PER_SECOND}/second"
    return f"\t\tiifname {private} ip saddr {{ {elements} }} {new} accept\n"


def _transit(public: str, private: str) -> str:
    """Return the rules for transit; whatever they don't accept is dropped by the chain's policy.

    Both directions ask for the client, so that removing it stops also what it had begun. What conntrack can't
    place is never translated: it goes first.
    """
    return f"""\
		ct state invalid drop
		iifname {private} oifname {public} ip saddr @clients jump outbound
		iifname {public} oifname {private} ip daddr @clients ct state established,related accept
"""


_OUTBOUND = f"""\
	chain outbound {{
		ct state established,related accept
		ip daddr @refused reject with icmpx admin-prohibited
		ct state != new drop
		update @arrivals {{ ip saddr limit rate over {NEW_PER_SECOND}/second burst {NEW_AT_ONCE} packets }} drop
		accept
	}}
"""


def _translate(wanted: Forwarding, public: str) -> str:
    # The guard sees what is about to leave, after translation: a connection that for whatever reason has none
    # (it began while the table was missing, say) is dropped, not sent under a private address.
    return f"""\
	chain translate {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname {public} ip saddr @clients snat ip to {wanted.public_address}
	}}
	chain guard {{
		type filter hook postrouting priority srcnat + 10; policy accept;
		oifname {public} meta mark {MARK:#x} ip saddr != {wanted.public_address} drop
	}}
"""


def _elements(clients: Iterable[str]) -> str:
    return ", ".join(sorted(str(ipaddress.IPv4Address(each)) for each in clients))


def _quoted(interface: str) -> str:
    if not _INTERFACE.fullmatch(interface):
        raise ValueError(f"an interface named {interface!r} can't be written into a rule")
    return f'"{interface}"'
