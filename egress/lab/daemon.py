"""The lab's daemon: builds the world, keeps the agents, serves the cloud API and the control socket."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from . import observer, world
from .agents import Agent, AgentPaths
from .cloud.app import create_app, server_config
from .cloud.faults import Faults
from .commands import Commands
from .config import CloudConfig, LabConfig
from .containers import Containers
from .control import ControlServer
from .droplets import Droplets
from .errors import LabError
from .hypervisor import Hypervisor
from .nodes import chain
from .observer import Server, Servers, Sniffer
from .process import check
from .recording.agents import RecordedNode
from .recording.commands import RecordedCommands
from .recording.droplets import RecordedDroplets

Jobs = dict[str, Awaitable[None]]
RUN = Path("/run")
RUN_SIZE = "256m"
logger = logging.getLogger(__name__)


def serve(config: LabConfig) -> int:
    """Run the lab until SIGTERM or SIGINT; return the exit code. Must run in namespaces of its own."""
    try:
        return asyncio.run(_serve(config))
    except LabError as error:
        logger.error("the lab can't start: %s", error)  # noqa: TRY400 - the message says it all
        return 1


async def _serve(config: LabConfig) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    began = time.monotonic()
    lab = recorded_lab(config, stop) if config.recording else _lab(config, stop)
    async with lab as jobs, running(jobs) as tasks:
        logger.info("the lab is up after %.1f s; control socket %s", time.monotonic() - began, config.control_socket)
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        broken = done - {stopping}
        for task in broken:
            logger.error("%s ended: %r", task.get_name(), task.exception())
        return 1 if broken else 0


@contextlib.asynccontextmanager
async def _lab(config: LabConfig, stop: asyncio.Event) -> AsyncIterator[Jobs]:
    """Start everything; yield the jobs that must not end."""
    await check(["mount", "-t", "tmpfs", "-o", f"mode=755,size={RUN_SIZE}", "lab", str(RUN)])
    await world.build(config.nodes)
    servers = Servers()
    sniffer = Sniffer(world.OBSERVER, servers)
    await sniffer.start()
    listening = open_sockets(config, servers)
    state_dir = Path(config.state_dir)
    chains = {
        node.name: chain(node, AgentPaths(node, state_dir), python=config.python, with_plugin=config.agent is not None)
        for node in config.nodes
    }
    agents = {
        node.name: Agent(node, config.agent, state_dir=state_dir, python=config.python)
        for node in config.nodes
        if config.agent is not None
    }
    droplets = Droplets(RUN / "lab/droplets")
    faults = Faults() if config.cloud else None
    commands = Commands(config, Containers(chains), droplets, agents, sniffer, faults, stop)
    jobs: Jobs = {
        "internet servers": servers.serve(listening),
        "control socket": ControlServer(Path(config.control_socket), commands.table()).serve(),
    }
    if config.cloud:
        jobs["cloud API"] = serve_cloud(config.cloud, droplets, faults)
    for agent in agents.values():
        agent.start()
    try:
        yield jobs
    finally:
        # The namespaces end with this process; agents get to write what they are writing.
        await asyncio.gather(*(agent.stop() for agent in agents.values()))


@contextlib.asynccontextmanager
async def recorded_lab(config: LabConfig, stop: asyncio.Event) -> AsyncIterator[Jobs]:
    """Start a lab without namespaces and packets; yield the jobs that must not end."""
    if not (config.cloud and config.agent and config.recording):
        raise LabError("a lab without packets needs a cloud API, agents, and a socket for them")
    droplets = RecordedDroplets(config.recording.agents_socket)
    nodes = [
        RecordedNode(node, config.recording.agents_socket, config.agent.join_token_file, droplets.runs)
        for node in config.nodes
    ]
    faults = Faults()
    commands = RecordedCommands(config.recording.reason, nodes, droplets, faults, stop)
    for node in nodes:
        node.start()
    yield {
        "control socket": ControlServer(Path(config.control_socket), commands.table()).serve(),
        "cloud API": serve_cloud(config.cloud, droplets, faults),
    }


@contextlib.asynccontextmanager
async def running(jobs: Jobs) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run `jobs`, and end them with the block; yield their tasks."""
    tasks = [asyncio.ensure_future(job) for job in jobs.values()]
    for task, name in zip(tasks, jobs, strict=True):
        task.set_name(name)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def open_sockets(config: LabConfig, servers: Servers) -> list[socket.socket]:
    """Open the internet's servers, and each node's metadata address and service backend; start the datagram one."""
    servers.serve_echo(observer.listen_udp(world.OBSERVER, observer.ECHO_PORT))
    sockets = [observer.listen_tcp(world.OBSERVER, "", observer.HTTP_PORT)]
    for node in config.nodes:
        sockets.append(observer.listen_tcp(node.namespace, world.METADATA_ADDRESS, 80))
        sockets.append(observer.listen_tcp(node.namespace, node.private_address, world.SERVICE_BACKEND_PORT))
    return sockets


async def serve_cloud(config: CloudConfig, droplets: Hypervisor, faults: Faults | None) -> None:
    """Serve the cloud API, with the faults injected into it, on the inherited socket until cancelled."""
    app = create_app(droplets, tokens=config.tokens, faults=faults)
    listening = socket.socket(fileno=config.fd)
    options = server_config(app, host="", port=0, certificate=Path(config.cert_file), key=Path(config.key_file))
    await Server(options).serve(sockets=[listening])
