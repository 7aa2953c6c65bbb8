"""A small container runtime: a network namespace wired by CNI, and a process in it that sleeps."""

import asyncio
import contextlib
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from .cni import Attachment, Chain, Json
from .errors import BadRequest, LabError, Unknown
from .netns import FOLDER, inside, ip
from .nodes import bypass_netfilter
from .process import Console, end_namespace, kill_group, spawn

MAX_CONTAINERS = 500
_START_SECONDS = 10
#: Says that it runs, starts the container's command, reaps what ends in the container and keeps it alive.
_INIT = r"""
hostname "$(printf %.63s "$1")"
mount -t sysfs sysfs /sys
shift
echo up
[ $# -eq 0 ] || "$@" &
while :; do sleep 3600 & wait; done
"""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(slots=True, kw_only=True)
class Container:
    """One running container."""

    name: str
    namespace: str
    node: str
    address: str
    attachment: Attachment
    process: asyncio.subprocess.Process
    reader: asyncio.Task[None]
    console: Console
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def place(self) -> str:
        """Its network namespace."""
        return place_of(self.attachment.container_id)

    def command(self, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` inside the container."""
        pid = self.process.pid
        pids = f"--pid=/proc/{pid}/ns/pid_for_children"
        return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", pids, "--", *argv]


class Containers:
    """All containers of all nodes, by name."""

    def __init__(self, chains: dict[str, Chain]) -> None:
        self._chains = chains
        self._running: dict[str, Container] = {}
        self._starting: set[str] = set()

    def bypass_netfilter(self, node: str, *, on: bool) -> None:
        """Make `node`'s network one that dedicated egress can't work on, or what it was before."""
        bypass_netfilter(self._chains[node], on=on)

    def all(self) -> list[Container]:
        """Return the running containers in the order of their names."""
        return [container for _, container in sorted(self._running.items())]

    def matching(self, name: str, node: str = "") -> list[Container]:
        """Return the container of that name, or all those of that namespace. Raises Unknown, saying what there is."""
        named = [one for one in self.all() if name in {one.name, one.namespace} and (not node or node == one.node)]
        if not named:
            there = ", ".join(f"{one.name} ({one.node})" for one in self.all()[:20]) or "none"
            where = f" on {node}" if node else ""
            raise Unknown(f"no container of {name!r} runs{where}; running: {there}")
        return named

    async def start(self, namespace: str, node: str, argv: Sequence[str] = ()) -> Container:
        """Start a container of `namespace` on `node`; it is wired when this returns. Raises LabError, CniError.

        `argv`, if given, is run in it at once, in the background.
        """
        if not _NAMESPACE.fullmatch(namespace):
            raise BadRequest(f"{namespace!r} is no name for a namespace: lower-case letters, digits and '-', up to 63")
        if len(self._running) + len(self._starting) >= MAX_CONTAINERS:
            raise LabError(f"the lab holds {MAX_CONTAINERS} containers at most: stop some first")
        name = self._free_name(namespace)
        self._starting.add(name)
        try:
            container = await self._start(name, namespace, node, argv)
        finally:
            self._starting.discard(name)
        self._running[name] = container
        return container

    async def stop(self, container: Container) -> None:
        """Run DEL, end the container's process and delete its namespace; may be repeated after a failed DEL."""
        async with container.lock:
            if self._running.get(container.name) is container:
                await self._chains[container.node].delete(container.attachment)
                await end_namespace(container.process)
                await container.reader
                await ip([f"netns delete {container.place}"])
                del self._running[container.name]

    async def check(self, container: Container) -> None:
        """Run CHECK on a container. Raises CniError when something isn't as ADD left it."""
        await self._chains[container.node].check(container.attachment)

    def _free_name(self, namespace: str) -> str:
        taken = self._running.keys() | self._starting
        return next(name for n in range(1, MAX_CONTAINERS + 2) if (name := f"{namespace}-{n}") not in taken)

    async def _start(self, name: str, namespace: str, node: str, argv: Sequence[str]) -> Container:
        chain = self._chains[node]
        identity = secrets.token_hex(32)
        place = place_of(identity)
        attachment = Attachment(
            container_id=identity,
            netns=str(FOLDER / place),
            args=(
                ("IgnoreUnknown", "1"),
                ("K8S_POD_NAMESPACE", namespace),
                ("K8S_POD_NAME", name),
                ("K8S_POD_INFRA_CONTAINER_ID", identity),
                ("K8S_POD_UID", str(uuid.uuid4())),
            ),
        )
        async with contextlib.AsyncExitStack() as undo:
            await ip([f"netns add {place}"])
            undo.push_async_callback(ip, [f"netns delete {place}"])
            await ip(["link set lo up"], namespace=place)
            undo.push_async_callback(_delete_after_failure, chain, attachment)
            result = await chain.add(attachment)
            process = await _sleeper(name, place, argv)
            undo.pop_all()
        assert process.stdout
        console = Console()
        return Container(
            name=name,
            namespace=namespace,
            node=node,
            address=_address(result),
            attachment=attachment,
            process=process,
            reader=asyncio.create_task(console.follow(process.stdout), name=f"console {name}"),
            console=console,
        )


def place_of(container_id: str) -> str:
    """Return the name of a container's network namespace."""
    return f"cni-{container_id[:32]}"


async def _delete_after_failure(chain: Chain, attachment: Attachment) -> None:
    # As a runtime does after a failed ADD; the ADD's own error is the one to report.
    with contextlib.suppress(LabError):
        await chain.delete(attachment)


async def _sleeper(name: str, place: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
    unshare = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    shell = ["sh", "-c", _INIT, "init", name, *argv]
    process = await spawn([*inside(place), *unshare, "--propagation", "slave", *shell], merge=True)
    assert process.stdout
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
    except TimeoutError:
        line = b"nothing within the time allowed"
    if line != b"up\n":
        await kill_group(process)
        raise LabError(f"the container {name} didn't start: {line.decode(errors='replace').strip()}")
    return process


def _address(result: Json) -> str:
    address: str = result["ips"][0]["address"].split("/")[0]
    return address
