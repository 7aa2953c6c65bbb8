"""What the control socket offers: each command checks its arguments, asks one room, and answers."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from typing import Any

from . import world
from .agents import Agent
from .arguments import Arguments
from .arguments import take as _take
from .cloud.faults import Faults
from .config import LabConfig, NodeConfig
from .containers import Container, Containers
from .control import Command, Send, stream
from .droplets import Droplets, cloud_init_installed
from .errors import BadRequest, LabError, Unknown
from .fault_commands import FaultCommands
from .netns import inside, nft
from .observer import Sniffer
from .standing import StandingFaults
from .status import droplet_status, lab_status, node_status

MAX_EXEC_SECONDS = 3_600
MAX_WORDS = 200


class Commands:
    """The lab's commands on its rooms."""

    def __init__(
        self,
        config: LabConfig,
        containers: Containers,
        droplets: Droplets,
        agents: Mapping[str, Agent],
        sniffer: Sniffer,
        faults: Faults | None,
        stop: asyncio.Event,
    ) -> None:
        self._config = config
        self._containers = containers
        self._droplets = droplets
        self._agents = agents
        self._sniffer = sniffer
        self._faults = faults
        self._standing = StandingFaults(config, droplets, agents)
        self._stop = stop
        self._began = time.time()

    def table(self) -> dict[str, Command]:
        """Return the commands by name."""
        return {
            "status": self._status,
            "start-container": self._start_container,
            "stop-container": self._stop_container,
            "check-container": self._check_container,
            "exec": self._exec,
            "expose": self._expose,
            "agent": self._agent,
            "agent-log": self._agent_log,
            "bypass": self._bypass,
            "mark": self._mark,
            "observed": self._observed,
            **self._standing.table(),
            **FaultCommands(self._faults).table(),
            "console": self._console,
            "container-log": self._container_log,
            "stop": self._stop_lab,
        }

    async def _status(self, arguments: Arguments, _: Send) -> Any:
        _take(arguments)
        boots_with = "cloud-init" if cloud_init_installed() else "the lab's stand-in for cloud-init"
        return {
            "lab": lab_status(self._began, boots_with=boots_with),
            "nodes": [self._node_status(node) for node in self._config.nodes],
            "containers": [_container_status(container) for container in self._containers.all()],
            "droplets": [droplet_status(machine, running=running) for machine, running in self._droplets.all()],
        }

    async def _start_container(self, arguments: Arguments, _: Send) -> Any:
        namespace, node, argv = _take(arguments, namespace=str, node=str, argv=[])
        _check_words(argv)
        return _container_status(await self._containers.start(namespace, self._node(node).name, argv))

    async def _stop_container(self, arguments: Arguments, _: Send) -> Any:
        name, node = _take(arguments, name=str, node="")
        chosen = self._chosen(name, node)
        for container in chosen:
            await self._containers.stop(container)
        return [container.name for container in chosen]

    async def _check_container(self, arguments: Arguments, _: Send) -> Any:
        (name,) = _take(arguments, name=str)
        for container in self._containers.matching(name):
            await self._containers.check(container)

    async def _exec(self, arguments: Arguments, send: Send) -> Any:
        where, node, argv, limit = _take(arguments, where=str, node="", argv=list, limit_seconds=60.0)
        if not argv:
            raise BadRequest("argv must name a command")
        _check_words(argv)
        if not 0 < limit <= MAX_EXEC_SECONDS:
            raise BadRequest(f"limit_seconds must be above 0 and at most {MAX_EXEC_SECONDS}")
        return {"exit": await stream(self._entered(where, node, argv), send, limit_seconds=limit)}

    async def _expose(self, arguments: Arguments, _: Send) -> Any:
        name, port, target = _take(arguments, name=str, node_port=int, port=int)
        if not (30_000 <= port < 32_768 and 0 < target < 65_536):  # noqa: PLR2004 - Kubernetes' node ports
            raise BadRequest("node_port must lie in 30000-32767 and port in 1-65535")
        container = self._containers.matching(name)[0]
        node = self._node(container.node)
        await nft(node.namespace, world.node_port_rule(port, container.address, target))
        return {"address": node.public_address, "port": port}

    async def _agent(self, arguments: Arguments, _: Send) -> Any:
        name, action = _take(arguments, node=str, action=str)
        if action == "status":
            return self._node_status(self._node(name))
        agent = self._agent_of(name)
        match action:
            case "start":
                agent.start()
            case "stop":
                await agent.stop()
            case "kill":
                await agent.kill()
            case "freeze":
                agent.freeze()
            case "continue":
                agent.thaw()
            case _:
                raise BadRequest(f"an agent can start, stop, kill, freeze, continue or tell its status, not {action!r}")
        return self._node_status(agent.node)

    async def _agent_log(self, arguments: Arguments, _: Send) -> Any:
        (name,) = _take(arguments, node=str)
        return str(self._agent_of(name).paths.log)

    async def _bypass(self, arguments: Arguments, _: Send) -> Any:
        name, on = _take(arguments, node=str, on=bool)
        self._containers.bypass_netfilter(self._node(name).name, on=on)

    async def _mark(self, arguments: Arguments, _: Send) -> Any:
        (name,) = _take(arguments, name=str)
        if not 0 < len(name) <= 100:  # noqa: PLR2004 - a name's length
            raise BadRequest("a mark's name has 1 to 100 characters")
        await self._sniffer.mark(name)

    async def _observed(self, arguments: Arguments, _: Send) -> Any:
        (since,) = _take(arguments, since="")
        return await self._sniffer.observed(since)

    async def _console(self, arguments: Arguments, _: Send) -> Any:
        (droplet,) = _take(arguments, droplet=int)
        return self._droplets.console(droplet)

    async def _container_log(self, arguments: Arguments, _: Send) -> Any:
        (name,) = _take(arguments, name=str)
        return list(self._containers.matching(name)[0].console.lines)

    async def _stop_lab(self, arguments: Arguments, _: Send) -> Any:
        _take(arguments)
        self._stop.set()

    # --- finding things ---

    def _node(self, name: str) -> NodeConfig:
        for node in self._config.nodes:
            if node.name == name:
                return node
        raise Unknown(f"there is no node {name!r}: {', '.join(node.name for node in self._config.nodes)}")

    def _agent_of(self, name: str) -> Agent:
        node = self._node(name)
        if node.name not in self._agents:
            raise LabError("this lab runs without node agents")
        return self._agents[node.name]

    def _chosen(self, name: str, node: str) -> list[Container]:
        return self._containers.matching(name, self._node(node).name if node else "")

    def _entered(self, where: str, node: str, argv: list[str]) -> list[str]:
        """Return the command for `argv` in a container, a node, a Droplet ("droplet-ID"), or on the internet."""
        if shutil.which("nsenter") is None:
            raise LabError("nsenter isn't installed: install util-linux")
        if where in {world.OBSERVER, world.CONTROL, world.INTERNET, world.VPC}:
            return [*inside(where), *argv]
        if where in {one.name for one in self._config.nodes}:
            return ["ip", "netns", "exec", self._node(where).namespace, *argv]
        kind, _, number = where.partition("-")
        if kind == "droplet" and number.isdecimal() and len(number) < 19:  # noqa: PLR2004 - fits 64 bits
            return self._droplets.command(int(number), argv)
        return self._chosen(where, node)[0].command(argv)

    def _node_status(self, node: NodeConfig) -> Any:
        agent = self._agents.get(node.name)
        if agent is None:
            return node_status(node, agent="none", agent_pid=None, agent_restarts=0)
        return node_status(node, agent=agent.state, agent_pid=agent.pid, agent_restarts=agent.restarts)


def _container_status(container: Container) -> Any:
    return {
        "name": container.name,
        "namespace": container.namespace,
        "node": container.node,
        "address": container.address,
        "id": container.attachment.container_id,
        "netns": container.attachment.netns,
    }


def _check_words(argv: list[Any]) -> None:
    if len(argv) > MAX_WORDS or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise BadRequest(f"argv must be a list of at most {MAX_WORDS} strings")
