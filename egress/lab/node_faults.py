"""What befalls a node: how each fault begins, and how it ends."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from .agents import Agent
from .config import NodeConfig
from .netns import nft
from .world import kube_ruleset

CLOCK_JUMP_SECONDS = 3_600.0


class Node(NamedTuple):
    """A node that a fault strikes. `first` is the cluster's first, which its services stand for."""

    config: NodeConfig
    first: NodeConfig
    agent: Agent


class NodeFault(NamedTuple):
    """`words` are for who chooses one; `stands` says whether it does. Without an `end` it is over once it has begun."""

    words: str
    begin: Callable[[Node], Awaitable[None]]
    end: Callable[[Node], Awaitable[None]] | None = None
    stands: Callable[[Agent], bool] = lambda _: False


async def _freeze(node: Node) -> None:
    node.agent.freeze()


async def _thaw(node: Node) -> None:
    node.agent.thaw()


async def _kill(node: Node) -> None:
    await node.agent.kill()


async def _flush(node: Node) -> None:
    # As a firewall's reload does: all rules go, and its own are there again in the same transaction, among them the
    # masquerade that everything leaves by once ours are gone.
    await nft(node.config.namespace, f"flush ruleset\n{kube_ruleset(node.config, node.first)}")


def _move(seconds: float) -> Callable[[Node], Awaitable[None]]:
    async def move(node: Node) -> None:
        node.agent.move_clock(seconds)

    return move


FAULTS: Mapping[str, NodeFault] = {
    "agent_freeze": NodeFault("its agent is stopped", _freeze, _thaw, lambda agent: agent.state == "frozen"),
    "agent_kill": NodeFault("its agent is killed, and started again", _kill),
    "ruleset_flush": NodeFault("another program flushes all nftables rules and loads its own", _flush),
    "clock_ahead": NodeFault(
        "its agent's clock jumps an hour ahead",
        _move(CLOCK_JUMP_SECONDS),
        _move(0),
        lambda agent: agent.clock_offset_seconds > 0,
    ),
    "clock_back": NodeFault(
        "its agent's clock jumps an hour back",
        _move(-CLOCK_JUMP_SECONDS),
        _move(0),
        lambda agent: agent.clock_offset_seconds < 0,
    ),
}
KINDS: Mapping[str, str] = {kind: fault.words for kind, fault in FAULTS.items()}
