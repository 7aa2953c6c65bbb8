"""The control socket's commands for faults that befall Droplets and nodes, and stand until they are healed."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import droplet_faults, node_faults
from .agents import Agent
from .arguments import Arguments, take
from .config import LabConfig
from .control import Command, Send
from .droplets import Droplets
from .errors import BadRequest, LabError, Unknown
from .hypervisor import HypervisorError

MAX_SECONDS = 3_600.0
MAX_TIMERS = 1_000
logger = logging.getLogger(__name__)


class StandingFaults:
    """Begins, ends and lists them. Which ones stand, Droplets and agents know themselves."""

    def __init__(self, config: LabConfig, droplets: Droplets, agents: Mapping[str, Agent]) -> None:
        self._config = config
        self._droplets = droplets
        self._agents = agents
        self._timers: set[asyncio.Task[None]] = set()

    def table(self) -> dict[str, Command]:
        """Return the commands by name."""
        return {"strike": self._strike, "heal": self._heal, "struck": self._list}

    async def _strike(self, arguments: Arguments, _: Send) -> Any:
        kind, target, seconds = take(arguments, kind=str, target=str, seconds=0.0)
        if not 0 <= seconds <= MAX_SECONDS:
            raise BadRequest(f"seconds must be from 0, until it is healed, to {MAX_SECONDS:g}, not {seconds:g}")
        if len(self._timers) >= MAX_TIMERS:
            raise LabError(f"{MAX_TIMERS} faults wait for their end already")
        at = await self._begin(kind, target)
        if seconds:
            timer = asyncio.create_task(self._heal_after(seconds, kind, target), name=f"end of {kind} at {target}")
            self._timers.add(timer)
            timer.add_done_callback(self._timers.discard)
        return {"at": at}

    async def _heal(self, arguments: Arguments, _: Send) -> Any:
        kind, target = take(arguments, kind="", target="")
        chosen = [one for one in self._standing() if kind in {"", one["kind"]} and target in {"", one["target"]}]
        for one in chosen:
            await self._end(one["kind"], one["target"])
        return chosen

    async def _list(self, arguments: Arguments, _: Send) -> Any:
        take(arguments)
        return self._standing()

    def _standing(self) -> list[dict[str, Any]]:
        droplets: list[dict[str, Any]] = [
            {"kind": kind, "target": f"droplet-{number}", "since": since}
            for number, kind, since in self._droplets.struck()
        ]
        nodes: list[dict[str, Any]] = [
            {"kind": kind, "target": name, "since": 0.0}
            for name, agent in self._agents.items()
            for kind, fault in node_faults.FAULTS.items()
            if fault.stands(agent)
        ]
        return droplets + nodes

    async def _begin(self, kind: str, target: str) -> float:
        droplet = _droplet(target)
        if droplet is not None:
            _expect(kind, tuple(droplet_faults.KINDS))
            return await self._droplets.strike(droplet, kind)
        node = self._node(target)
        _expect(kind, tuple(node_faults.KINDS))
        began = time.monotonic()
        await node_faults.FAULTS[kind].begin(node)
        return began

    async def _end(self, kind: str, target: str) -> None:
        droplet = _droplet(target)
        if droplet is not None:
            await self._droplets.heal(droplet, kind)
        elif end := node_faults.FAULTS[kind].end:
            await end(self._node(target))

    async def _heal_after(self, seconds: float, kind: str, target: str) -> None:
        await asyncio.sleep(seconds)
        try:
            await self._end(kind, target)
        except (LabError, HypervisorError) as error:
            logger.warning("the fault %s at %s can't be ended: %s", kind, target, error)

    def _node(self, name: str) -> node_faults.Node:
        config = next((node for node in self._config.nodes if node.name == name), None)
        if config is None:
            there = ", ".join([node.name for node in self._config.nodes])
            raise Unknown(f"there is no {name!r} to strike: say droplet-NUMBER, or one of the nodes {there}")
        if name not in self._agents:
            raise LabError("this lab runs without node agents")
        return node_faults.Node(config, self._config.nodes[0], self._agents[name])


def _droplet(target: str) -> int | None:
    kind, _, number = target.partition("-")
    fits = number.isascii() and number.isdecimal() and len(number) < 19  # noqa: PLR2004 - fits 64 bits
    return int(number) if kind == "droplet" and fits else None


def _expect(kind: str, known: Sequence[str]) -> None:
    if kind not in known:
        raise BadRequest(f"kind must be one of {', '.join(known)}, not {kind!r}")
