"""Droplets as Linux namespaces: the `Hypervisor` behind the lab's cloud API.

A Droplet has mount, process, host-name and network namespaces of its own, a disk in memory that outlives its power,
and boots the real user data through the real cloud-init where that is installed.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import image
from .droplet_faults import FAULTS, POWER_LOSS, Struck, outlasts_power
from .errors import LabError
from .hypervisor import HypervisorError, Machine
from .image import BOOT, CLOUD_INIT_STAGES, STAND_IN_STAGES
from .netns import inside, ip, set_sysctls
from .process import Console, check, end_namespace, first_processes, spawn
from .world import DROPLETS_BRIDGE, INTERNET, VPC, VPC_BRIDGE, join

MAX_DROPLETS = 60
DISK_SIZE = "192m"
_BOOT_SECONDS = 20
_SHUTDOWN_SECONDS = 15
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/conf/all/rp_filter": "2",
    "ipv4/conf/default/rp_filter": "2",
}


@dataclass(slots=True)
class _Droplet:
    machine: Machine
    process: asyncio.subprocess.Process | None = None
    reader: asyncio.Task[None] | None = None
    console: Console = field(default_factory=Console)
    #: The port in each switch that its interfaces are plugged into.
    ports: list[tuple[str, str]] = field(default_factory=list)
    #: The faults that stand: when each began, in seconds of the epoch.
    faults: dict[str, float] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"droplet-{self.machine.id}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None


def cloud_init_installed() -> bool:
    """Say whether Droplets run the real cloud-init."""
    return shutil.which("cloud-init", path=_PATH) is not None


class Droplets:
    """All Droplets of the lab; implements Hypervisor. Disks lie below `folder`, which must be the lab's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._droplets: dict[int, _Droplet] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    # --- Hypervisor ---

    async def boot(self, machine: Machine) -> None:
        """Boot from a fresh disk."""
        async with self._turn(machine.id):
            if machine.id not in self._droplets and len(self._droplets) >= MAX_DROPLETS:
                raise LabError(f"the lab holds {MAX_DROPLETS} Droplets at most")
            await self._off(machine.id)
            await self._format(machine)
            self._droplets[machine.id] = _Droplet(machine)
            await self._on(machine)

    async def power_off(self, machine_id: int) -> None:
        """Cut the power."""
        async with self._turn(machine_id):
            await self._off(machine_id)

    async def power_on(self, machine: Machine) -> None:
        """Boot from the disk that is there."""
        async with self._turn(machine.id):
            if not self._known(machine.id).running:
                await self._off(machine.id)
                await self._on(machine)

    async def power_cycle(self, machine: Machine) -> None:
        """Cut the power and boot."""
        async with self._turn(machine.id):
            self._known(machine.id)
            await self._off(machine.id)
            await self._on(machine)

    async def shutdown(self, machine_id: int) -> None:
        """Stop services, then switch off."""
        async with self._turn(machine_id):
            await self._shutdown(machine_id)

    async def reboot(self, machine: Machine) -> None:
        """Shut down and boot."""
        async with self._turn(machine.id):
            await self._shutdown(machine.id)
            await self._on(machine)

    async def rebuild(self, machine: Machine) -> None:
        """Boot as new."""
        async with self._turn(machine.id):
            self._known(machine.id)
            await self._off(machine.id)
            await self._format(machine)
            await self._on(machine)

    async def destroy(self, machine_id: int) -> None:
        """Cut the power and delete the disk."""
        async with self._turn(machine_id):
            await self._off(machine_id)
            if droplet := self._droplets.pop(machine_id, None):
                for kind in droplet.faults:
                    await self._end(Struck(droplet.machine, 0), kind)
                await self._scrap(machine_id)
        self._locks.pop(machine_id, None)

    # --- for the lab ---

    async def strike(self, machine_id: int, kind: str) -> float:
        """Let the fault `kind` of droplet_faults.KINDS befall a machine, of which the cloud API learns nothing.

        Returns when it began, by the monotonic clock. Raises HypervisorError for a machine that is off.
        """
        async with self._turn(machine_id):
            droplet, init = self._known(machine_id), self._init(machine_id)
            began, since = time.monotonic(), time.time()
            if kind == POWER_LOSS:
                await self._off(machine_id)
                droplet.faults[kind] = since
                return began
            await FAULTS[kind].begin(Struck(droplet.machine, init))
            if FAULTS[kind].end:
                droplet.faults.setdefault(kind, since)
            return began

    async def heal(self, machine_id: int, kind: str) -> None:
        """End a fault; a no-op when it doesn't stand, or ended with the machine's power or the machine."""
        async with self._turn(machine_id):
            droplet = self._droplets.get(machine_id)
            if droplet is None or droplet.faults.pop(kind, None) is None:
                return
            if kind == POWER_LOSS:
                await self._on(droplet.machine)
                return
            struck = Struck(droplet.machine, self._init(machine_id) if droplet.running else 0)
            await self._end(struck, kind)
            if droplet.running:
                # The end of one lets the processes go on that another holds.
                await self._begin(struck, droplet.faults)

    def struck(self) -> list[tuple[int, str, float]]:
        """Return the faults that stand: (machine, kind, since when in seconds of the epoch)."""
        return [
            (number, kind, since)
            for number, droplet in sorted(self._droplets.items())
            for kind, since in droplet.faults.items()
        ]

    def all(self) -> list[tuple[Machine, bool]]:
        """Return all machines, each with whether it runs."""
        return [(droplet.machine, droplet.running) for _, droplet in sorted(self._droplets.items())]

    def console(self, machine_id: int) -> list[str]:
        """Return the last lines of a machine's console. Raises HypervisorError for an unknown one."""
        return list(self._known(machine_id).console.lines)

    def command(self, machine_id: int, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` inside a running machine. Raises HypervisorError."""
        return ["nsenter", f"--target={self._init(machine_id)}", "--mount", "--uts", "--net", "--pid", "--", *argv]

    def _init(self, machine_id: int) -> int:
        droplet = self._known(machine_id)
        inits = first_processes(droplet.process.pid) if droplet.process and droplet.running else []
        if not inits:
            raise HypervisorError(f"the Droplet {machine_id} is off: power it on first")
        return inits[0]

    # --- inside a turn ---

    @contextlib.asynccontextmanager
    async def _turn(self, machine_id: int) -> AsyncIterator[None]:
        async with self._locks.setdefault(machine_id, asyncio.Lock()):
            with _as_hypervisor_error(machine_id):
                yield

    def _known(self, machine_id: int) -> _Droplet:
        if machine_id not in self._droplets:
            raise HypervisorError(f"there is no Droplet {machine_id}")
        return self._droplets[machine_id]

    def _disk(self, machine_id: int) -> Path:
        return self._folder / str(machine_id)

    async def _format(self, machine: Machine) -> None:
        await self._scrap(machine.id)
        disk = self._disk(machine.id)
        disk.mkdir(parents=True)
        await check(["mount", "-t", "tmpfs", "-o", f"mode=755,size={DISK_SIZE}", f"droplet-{machine.id}", str(disk)])
        lay_out(disk, machine)

    async def _scrap(self, machine_id: int) -> None:
        disk = self._disk(machine_id)
        if disk.is_mount():
            await check(["umount", "--lazy", str(disk)])
        if disk.exists():
            disk.rmdir()

    async def _on(self, machine: Machine) -> None:
        droplet = self._known(machine.id)
        droplet.machine = machine
        try:
            await self._plug_in(droplet)
            await self._start(droplet)
        except BaseException:
            await self._off(machine.id)
            raise

    async def _plug_in(self, droplet: _Droplet) -> None:
        place, machine = droplet.place, droplet.machine
        await ip([f"netns add {place}"])
        set_sysctls(place, _SYSCTLS)
        await ip(["link set lo up"], namespace=place)
        public, private = f"p{machine.id}", f"v{machine.id}"
        droplet.ports = [(INTERNET, public), (VPC, private)]
        await join(place, INTERNET, DROPLETS_BRIDGE, machine.public_address, 24, interface="eth0", port=public)
        await join(place, VPC, VPC_BRIDGE, machine.private_address, 20, interface="eth1", port=private)
        await ip(["route add default via 203.0.113.1"], namespace=place)
        await self._begin(Struck(machine, 0), droplet.faults)

    @staticmethod
    async def _begin(struck: Struck, standing: Iterable[str]) -> None:
        for kind in [kind for kind in standing if struck.init or outlasts_power(kind)]:
            await FAULTS[kind].begin(struck)

    @staticmethod
    async def _end(struck: Struck, kind: str) -> None:
        end = FAULTS[kind].end
        assert end
        try:
            await end(struck)
        except LabError:
            if struck.init:
                raise
            # It is off: its cables are gone as well.

    async def _start(self, droplet: _Droplet) -> None:
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL"]
        script = ["sh", "-c", BOOT, "boot", str(self._disk(droplet.machine.id)), droplet.machine.name]
        command = [*inside(droplet.place), *unshare, "--propagation", "private", *script]
        # The environment is the Droplet's own: the lab's may hold secrets.
        droplet.process = await spawn(command, env={"PATH": _PATH, "LANG": "C.UTF-8"}, merge=True)
        stream = droplet.process.stdout
        assert stream
        try:
            line = await asyncio.wait_for(stream.readline(), _BOOT_SECONDS)
        except TimeoutError:
            line = b"nothing within the time allowed"
        if line != b"up\n":
            raise HypervisorError(f"the Droplet {droplet.machine.id} didn't boot: {line.decode(errors='replace')}")
        droplet.console.lines.append("--- boot ---")
        droplet.reader = asyncio.create_task(droplet.console.follow(stream), name=f"console {droplet.place}")

    async def _off(self, machine_id: int) -> None:
        droplet = self._droplets.get(machine_id)
        if droplet is None:
            return
        # The cables first: a machine that loses power says no farewell to its peers.
        for switch, port in droplet.ports:
            with contextlib.suppress(LabError):
                await ip([f"link delete {port}"], namespace=switch)
        droplet.ports = []
        droplet.faults = {
            kind: since for kind, since in droplet.faults.items() if kind in FAULTS and FAULTS[kind].outside
        }
        if droplet.process:
            await end_namespace(droplet.process)
            droplet.process = None
        if droplet.reader:
            await droplet.reader
            droplet.reader = None
        with contextlib.suppress(LabError):
            await ip([f"netns delete {droplet.place}"])

    async def _shutdown(self, machine_id: int) -> None:
        droplet = self._known(machine_id)
        if droplet.process and droplet.running:
            for pid in first_processes(droplet.process.pid):
                os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(droplet.process.wait(), _SHUTDOWN_SECONDS)
        await self._off(machine_id)


@contextlib.contextmanager
def _as_hypervisor_error(machine_id: int) -> Iterator[None]:
    try:
        yield
    except (LabError, OSError) as error:
        raise HypervisorError(f"Droplet {machine_id}: {error}") from error


def lay_out(disk: Path, machine: Machine) -> None:
    """Write a fresh disk: the root's empty folders, and what lies over the system's software."""
    root = disk / "root"
    for name in ("usr", "etc", "usr.work", "etc.work", "root"):
        (disk / name).mkdir()
    folders = "usr etc proc sys run tmp dev home root srv mnt opt var/lib var/log var/tmp var/cache var/lib/dpkg"
    for name in folders.split():
        (root / name).mkdir(parents=True)
    for name in (*image.WRITABLE_FOLDERS, *image.OWN_FOLDERS):
        (disk / name).mkdir(parents=True, exist_ok=True)
    for name in image.OWN_FOLDERS:
        (disk / "own" / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    (root / "var/run").symlink_to("/run")
    (root / "var/lib/dpkg/status").touch()
    seed = "var/lib/cloud/seed/nocloud"
    meta_data = {"instance-id": f"droplet-{machine.id}", "local-hostname": machine.name}
    files = {
        "etc/hostname": machine.name + "\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n",
        f"{seed}/user-data": machine.user_data,
        f"{seed}/meta-data": json.dumps(meta_data),
        "usr/local/lib/lab/jobs.json": json.dumps(_boot_jobs(machine)),
        **image.files(),
    }
    for name, content in files.items():
        path = _home_of(disk, name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / seed / "user-data").chmod(0o600)
    (disk / "usr/bin/systemctl").chmod(0o755)


def _home_of(disk: Path, name: str) -> Path:
    """Return the folder of the disk below which the Droplet's file `name` lies."""
    if name.startswith(image.OWN_FOLDERS):
        return disk / "own"
    return disk if name.startswith(("usr/", "etc/")) else disk / "root"


def _boot_jobs(machine: Machine) -> Sequence[Sequence[str]]:
    if not machine.user_data:
        return ()
    return CLOUD_INIT_STAGES if cloud_init_installed() else STAND_IN_STAGES
