"""What befalls a Droplet behind the cloud API's back: how each fault begins, and how it ends."""

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from egress.wire import probe

from .hypervisor import Machine
from .netns import ip, nft, set_sysctls
from .process import processes_of, stop_namespace
from .world import DROPLETS_BRIDGE, INTERNET, VPC, VPC_BRIDGE

#: Part of the command line of the gateway's agent, and of nothing else.
_AGENT = "sluicegate/gateway"
_BOTH_WAYS = ("ingress", "egress")


@dataclass(frozen=True, slots=True)
class Struck:
    """A Droplet that a fault strikes; `init` is its first process, 0 while it is off."""

    machine: Machine
    init: int

    @property
    def place(self) -> str:
        """Its network namespace."""
        return f"droplet-{self.machine.id}"

    @property
    def public_port(self) -> tuple[str, str]:
        """The switch, and the port there that the public interface is plugged into."""
        return INTERNET, f"p{self.machine.id}"

    @property
    def private_port(self) -> tuple[str, str]:
        """The same for the interface in the VPC."""
        return VPC, f"v{self.machine.id}"


class DropletFault(NamedTuple):
    """`words` are for who chooses one. Without an `end` it is over as soon as it has begun.

    What is `outside` is in the cables, and lasts however often the machine boots; the others end with its power.
    """

    words: str
    begin: Callable[[Struck], Awaitable[None]]
    end: Callable[[Struck], Awaitable[None]] | None = None
    outside: bool = False


async def _cut(port: tuple[str, str]) -> None:
    # Neither end sees its carrier go: as with a cable that is cut behind the next switch.
    switch, name = port
    hooks = [
        f"chain {hook} {{ type filter hook {hook} device {name} priority -400; policy drop; }}" for hook in _BOTH_WAYS
    ]
    table = _cut_table(port)
    await nft(switch, _without("netdev", table) + f"table netdev {table} {{\n" + "\n".join(hooks) + "\n}\n")


async def _mend(port: tuple[str, str]) -> None:
    await nft(port[0], _without("netdev", _cut_table(port)))


def _cut_table(port: tuple[str, str]) -> str:
    return f"fault_cut_{port[1]}"


async def _hang(struck: Struck) -> None:
    # Unlike a cut, this goes when the port does.
    for switch, port in (struck.private_port, struck.public_port):
        await ip([f"link set {port} nomaster"], namespace=switch)
    stop_namespace(struck.init)


async def _wake(struck: Struck) -> None:
    await _thaw(struck)
    for (switch, port), bridge in ((struck.private_port, VPC_BRIDGE), (struck.public_port, DROPLETS_BRIDGE)):
        await ip([f"link set {port} master {bridge}"], namespace=switch)


async def _freeze(struck: Struck) -> None:
    stop_namespace(struck.init)


async def _thaw(struck: Struck) -> None:
    _signal(processes_of(struck.init), signal.SIGCONT)


async def _freeze_agent(struck: Struck) -> None:
    _signal(processes_of(struck.init, _AGENT), signal.SIGSTOP)


async def _kill_agent(struck: Struck) -> None:
    _signal(processes_of(struck.init, _AGENT), signal.SIGKILL)


async def _stop_forwarding(struck: Struck) -> None:
    await _freeze_agent(struck)
    set_sysctls(struck.place, {"ipv4/ip_forward": "0"})


async def _flush(struck: Struck) -> None:
    await nft(struck.place, "flush ruleset\n")


async def _block_probes(struck: Struck) -> None:
    rule = f"ip daddr {struck.machine.private_address} udp dport {probe.PORT} drop"
    await nft(VPC, _dropping("bridge", _probes(struck), rule))


async def _let_probes_pass(struck: Struck) -> None:
    await nft(VPC, _without("bridge", _probes(struck)))


async def _lose_what_is_beyond(struck: Struck) -> None:
    address = struck.machine.public_address
    await nft(INTERNET, _dropping("ip", _beyond(struck), f"ip saddr {address} drop\nip daddr {address} drop"))


async def _find_what_is_beyond(struck: Struck) -> None:
    await nft(INTERNET, _without("ip", _beyond(struck)))


def _probes(struck: Struck) -> str:
    return f"fault_probes_{struck.machine.id}"


def _beyond(struck: Struck) -> str:
    return f"fault_beyond_{struck.machine.id}"


def _dropping(family: str, table: str, rules: str) -> str:
    chain = f"chain forward {{ type filter hook forward priority -300\n{rules}\n}}"
    return f"{_without(family, table)}table {family} {table} {{\n{chain}\n}}\n"


def _without(family: str, table: str) -> str:
    # Adding before deleting makes the deletion succeed whether or not the table is there.
    return f"table {family} {table}\ndelete table {family} {table}\n"


async def _lose_carrier(struck: Struck) -> None:
    switch, port = struck.public_port
    await ip([f"link set {port} down"], namespace=switch)


async def _find_carrier(struck: Struck) -> None:
    switch, port = struck.public_port
    await ip([f"link set {port} up"], namespace=switch)


def _signal(processes: set[int], number: signal.Signals) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


#: By kind; "power_loss", which is the machine's own, is among KINDS too.
FAULTS: Mapping[str, DropletFault] = {
    "hang": DropletFault("its kernel hangs: nothing runs, nothing passes", _hang, _wake),
    "freeze": DropletFault("all its processes are stopped; the kernel forwards on", _freeze, _thaw),
    "agent_freeze": DropletFault("its agent, which answers probes, is stopped", _freeze_agent, _thaw),
    "agent_kill": DropletFault("its agent is killed, and started again by systemd", _kill_agent),
    "no_forwarding": DropletFault("forwarding is off and the agent stopped", _stop_forwarding, _thaw),
    "ruleset_flush": DropletFault("another program flushes all nftables rules", _flush),
    "cable_cut": DropletFault(
        "nothing passes its leg in the VPC; nobody sees a carrier go",
        lambda struck: _cut(struck.private_port),
        lambda struck: _mend(struck.private_port),
        outside=True,
    ),
    "probes_blocked": DropletFault(
        "probes don't reach it, all else does", _block_probes, _let_probes_pass, outside=True
    ),
    "link_down": DropletFault("its public interface loses its carrier", _lose_carrier, _find_carrier, outside=True),
    "internet_lost": DropletFault(
        "the next hop on its public side is silent",
        lambda struck: _cut(struck.public_port),
        lambda struck: _mend(struck.public_port),
        outside=True,
    ),
    "beyond_lost": DropletFault(
        "the next hop answers, but nothing beyond it", _lose_what_is_beyond, _find_what_is_beyond, outside=True
    ),
}
POWER_LOSS = "power_loss"
KINDS: Mapping[str, str] = {
    POWER_LOSS: "it is switched off; healed, it boots",
    **{kind: fault.words for kind, fault in FAULTS.items()},
}


def outlasts_power(kind: str) -> bool:
    """Say whether a fault stands on when its machine is switched off, or boots."""
    return kind in FAULTS and FAULTS[kind].outside
