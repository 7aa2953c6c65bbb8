"""Node agents as supervised children, each in its node's network, its files below the lab's state folder."""

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import signal
import struct
import time
from pathlib import Path
from typing import Literal

import egress

from . import clock
from .clock.sitecustomize import VARIABLE as CLOCK_VARIABLE
from .config import AgentConfig, NodeConfig
from .errors import LabError
from .process import Console, favoured, kill_group, spawn

AgentState = Literal["running", "frozen", "stopped", "restarting"]
RUN = Path("/run/lab/nodes")
#: Where Debian puts the reference plugins, and where most others do.
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
LOG_BYTES = 2 * 1024 * 1024
_STOP_SECONDS = 10
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
#: A run of this length was a good one: the next restart comes at once again.
_GOOD_RUN_SECONDS = 10


class Agent:
    """One node's agent: restarted when it ends by itself, unless stopped on purpose."""

    def __init__(self, node: NodeConfig, settings: AgentConfig, *, state_dir: Path, python: str) -> None:
        self.node = node
        self.restarts = 0
        self.paths = AgentPaths(node, state_dir)
        self._settings = settings
        self._python = python
        self._wanted = False
        self._frozen = False
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._logger = _log_file(self.paths.log, node.name)

    @property
    def state(self) -> AgentState:
        """What the agent does now."""
        if self._process is None or self._process.returncode is not None:
            return "restarting" if self._wanted else "stopped"
        return "frozen" if self._frozen else "running"

    @property
    def pid(self) -> int | None:
        """The agent's process in the lab's process namespace."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the agent and keep it running; a no-op when it is."""
        if not self._wanted:
            self._wanted = True
            self._write_config()
            self._keeper = asyncio.create_task(self._keep(), name=f"agent {self.node.name}")

    async def stop(self) -> None:
        """End the agent in order (SIGTERM) and leave it so; a no-op when it is stopped."""
        self._wanted = False
        process, keeper = self._process, self._keeper
        if process:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            await kill_group(process)
        if keeper:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        self._keeper = self._process = None
        self._frozen = False

    async def kill(self) -> None:
        """Kill the agent (SIGKILL), as a crash would, and wait until it is gone; it is restarted."""
        await kill_group(self._running())

    def freeze(self) -> None:
        """Stop the agent's process without ending it."""
        self._running()
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let a frozen agent go on."""
        self._running()
        self._signal(signal.SIGCONT)
        self._frozen = False

    @property
    def clock_offset_seconds(self) -> float:
        """How far its clock is off."""
        return float(struct.unpack("d", self.paths.clock.read_bytes())[0]) if self.paths.clock.exists() else 0.0

    def move_clock(self, seconds: float) -> None:
        """Set its clock off by `seconds`, at once; what it measures by the monotonic clock isn't moved."""
        # In place: the agent has it mapped.
        with self.paths.clock.open("r+b") as file:
            file.write(struct.pack("d", seconds))

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise LabError(f"the agent of {self.node.name} is {self.state}: start it first")
        return self._process

    def _signal(self, number: int) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while self._wanted:
            began = time.monotonic()
            code = await self._run_once()
            pause = _FIRST_PAUSE_SECONDS if time.monotonic() - began > _GOOD_RUN_SECONDS else pause
            if self._wanted:
                self.restarts += 1
                logging.getLogger(__name__).warning("agent of %s ended (%s): restarting", self.node.name, code)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> int | str:
        # `ip netns exec` gives it a /sys of its node; mounts made later in /run/netns still reach it.
        command = [*favoured(), "ip", "netns", "exec", self.node.namespace, self._python, "-m", "egress.node"]
        try:
            self._process = process = await spawn(
                [*command, "--config", str(self.paths.config)], env=self._environment(), merge=True
            )
        except LabError as error:
            return str(error)
        try:
            assert process.stdout
            await Console(self._logger).follow(process.stdout)
            return await process.wait()
        finally:
            await kill_group(process)
            self._process = None
            self._frozen = False

    def _environment(self) -> dict[str, str]:
        # Not the lab's own environment, which may hold the demo's secrets.
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{Path(clock.__file__).parent}:{Path(egress.__file__).parents[1]}",
            CLOCK_VARIABLE: str(self.paths.clock),
            "PYTHONUNBUFFERED": "1",
        }

    def _write_config(self) -> None:
        for folder in (self.paths.state_dir, self.paths.run_dir, self.paths.results_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = {
            "name": self.node.name,
            "control_plane_url": self._settings.control_plane_url,
            "ca_file": self._settings.ca_file,
            "join_token_file": self._settings.join_token_file,
            "private_interface": "eth1",
            "private_address": self.node.private_address,
            "state_dir": str(self.paths.state_dir),
            "run_dir": str(self.paths.run_dir),
            "cni_cache_dir": str(self.paths.results_dir),
            "cni_conf_dir": str(self.paths.conf_dir),
            "cni_bin_dirs": [str(folder) for folder in (self.paths.bin_dir, *PLUGIN_FOLDERS)],
        }
        self.paths.config.write_text(json.dumps(config, indent=1))
        self.paths.clock.write_bytes(struct.pack("d", 0.0))


class AgentPaths:
    """Where one node's things are. What must survive a lab is below its state folder, the rest dies with it."""

    def __init__(self, node: NodeConfig, state_dir: Path) -> None:
        home, run = state_dir / "nodes" / node.name, RUN / node.name
        self.state_dir = home / "state"
        self.log = home / "agent.log"
        self.config = run / "agent.json"
        self.clock = run / "clock"
        self.run_dir = run / "agent"
        self.conf_dir = run / "cni/net.d"
        self.results_dir = run / "cni/results"
        self.leases_dir = run / "cni/networks"
        self.bin_dir = run / "cni/bin"
        self.socket = self.run_dir / "cni.sock"
        self.namespaces_file = self.state_dir / "namespaces"


def _log_file(path: Path, name: str) -> logging.Logger:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    logger = logging.getLogger(f"agent {name}")
    logger.propagate = False
    logger.addHandler(logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1))
    return logger
