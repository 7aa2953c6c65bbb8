"""What the control socket offers where there are no packets: the same commands, of which many can only say so."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from egress.lab.arguments import Arguments, take
from egress.lab.cloud.faults import Faults
from egress.lab.containers import MAX_CONTAINERS
from egress.lab.control import Command, Send
from egress.lab.errors import LabError, Unknown
from egress.lab.fault_commands import FaultCommands
from egress.lab.status import droplet_status, lab_status, node_status

from .agents import RecordedNode
from .droplets import RecordedDroplets

#: Commands that want packets, processes or namespaces.
_IMPOSSIBLE = (
    "check-container",
    "exec",
    "expose",
    "agent",
    "agent-log",
    "bypass",
    "mark",
    "observed",
    "strike",
    "console",
    "container-log",
)


class NoPackets(LabError):
    """Nothing moves in this lab."""

    code = "simulated"


class RecordedCommands:
    """The lab's commands; containers are names here, and `reason` says why."""

    def __init__(
        self,
        reason: str,
        nodes: Sequence[RecordedNode],
        droplets: RecordedDroplets,
        faults: Faults,
        stop: asyncio.Event,
    ) -> None:
        self._reason = reason
        self._nodes = {node.name: node for node in nodes}
        self._droplets = droplets
        self._faults = faults
        self._stop = stop
        self._began = time.time()
        #: Namespace and node by the container's name.
        self._containers: dict[str, tuple[str, str]] = {}

    def table(self) -> dict[str, Command]:
        """Return the commands by name."""
        return {
            **dict.fromkeys(_IMPOSSIBLE, self._refuse),
            **FaultCommands(self._faults).table(),
            "struck": self._struck,
            "heal": self._struck,
            "status": self._status,
            "start-container": self._start_container,
            "stop-container": self._stop_container,
            "stop": self._stop_lab,
        }

    async def _refuse(self, _arguments: Arguments, _: Send) -> Any:
        raise NoPackets(f"this demo is simulated, and there are no packets in it to look at. {self._reason}")

    async def _struck(self, arguments: Arguments, _: Send) -> Any:
        take(arguments, kind="", target="")
        # Nothing can be struck here, so nothing stands and nothing has to end.
        return []

    async def _status(self, arguments: Arguments, _: Send) -> Any:
        take(arguments)
        return {
            "lab": {**lab_status(self._began, boots_with="nothing: simulated"), "simulated": self._reason},
            "nodes": [_node_status(node) for node in self._nodes.values()],
            "containers": [
                {"name": name, "namespace": namespace, "node": node, "address": "", "id": "", "netns": ""}
                for name, (namespace, node) in sorted(self._containers.items())
            ],
            "droplets": [droplet_status(machine, running=on) for machine, on in self._droplets.all()],
        }

    async def _start_container(self, arguments: Arguments, _: Send) -> Any:
        namespace, node, _argv = take(arguments, namespace=str, node=str, argv=[])
        self._check_node(node)
        if len(self._containers) >= MAX_CONTAINERS:
            raise LabError(f"the lab holds {MAX_CONTAINERS} containers at most: stop some first")
        name = next(name for n in range(1, MAX_CONTAINERS + 2) if (name := f"{namespace}-{n}") not in self._containers)
        self._containers[name] = namespace, node
        self._tell_nodes()
        return {"name": name, "namespace": namespace, "node": node}

    async def _stop_container(self, arguments: Arguments, _: Send) -> Any:
        name, node = take(arguments, name=str, node="")
        if node:
            self._check_node(node)
        chosen = [
            one
            for one, (namespace, place) in sorted(self._containers.items())
            if name in {one, namespace} and node in {"", place}
        ]
        if not chosen:
            raise Unknown(
                f"no container of {name!r} runs; running: {', '.join(sorted(self._containers)[:20]) or 'none'}"
            )
        for one in chosen:
            del self._containers[one]
        self._tell_nodes()
        return chosen

    async def _stop_lab(self, arguments: Arguments, _: Send) -> Any:
        take(arguments)
        self._stop.set()

    def _tell_nodes(self) -> None:
        for node in self._nodes.values():
            node.set_containers(
                Counter(namespace for namespace, place in self._containers.values() if place == node.name)
            )

    def _check_node(self, name: str) -> None:
        if name not in self._nodes:
            raise Unknown(f"there is no node {name!r}: {', '.join(self._nodes)}")


def _node_status(node: RecordedNode) -> Any:
    status = node_status(node.node, agent="recording", agent_pid=None, agent_restarts=0)
    return {**status, "recorded": node.recorded}
