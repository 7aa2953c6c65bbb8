"""Measure keepalived in the same way: two routers that share an address by VRRP at its fastest, one of them struck.

client 10.8.0.2 ── lan 10.8.0.1 (shared) ── routers .11, .12 ── wan 10.9.0.0/24 ── server 10.9.0.2
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.chaos import answerer, measurer
from tests.chaos.gaps import IN_A_ROW, Record, gaps
from tests.e2e.system import wait_for

ADVERT_SECONDS = 0.1
LAN, WAN, CLIENT, SERVER = "lan", "wan", "client", "server"
ROUTERS = ("a", "b")
SHARED_ADDRESS, SERVER_ADDRESS = "10.8.0.1", "10.9.0.2"
STEADY_SECONDS = 60
CONFIG = """
global_defs {{
    vrrp_version 3
    script_user root
}}
vrrp_instance gateway {{
    state BACKUP
    nopreempt
    interface lan0
    virtual_router_id 7
    priority {priority}
    advert_int {advert}
    virtual_ipaddress {{
        {address}/24
    }}
}}
"""


def missing() -> str:
    """Say why it can't be measured here; "" if it can."""
    return "" if shutil.which("keepalived") and os.geteuid() == 0 else "keepalived isn't installed, or this isn't root"


class Routers:
    """The two routers, and a client's load over them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._out = folder / "load"
        self._out.touch()
        self._record = Record()
        self._offset = 0

    def _ns(self, place: str) -> str:
        return f"sgt-ka{os.getpid()}-{place}"

    def _ip(self, place: str, *lines: str) -> None:
        subprocess.run(
            ["ip", "-n", self._ns(place), "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=30,
            capture_output=True,
        )  # fmt: skip

    def _start(self, name: str, place: str, command: Sequence[str]) -> None:
        inside = ["nsenter", f"--net=/run/netns/{self._ns(place)}", "--"]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *inside, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def build(self) -> None:
        """Make the networks and start everything."""
        for place in (LAN, WAN, CLIENT, SERVER, *ROUTERS):
            subprocess.run(["ip", "netns", "add", self._ns(place)], check=True, timeout=30)
            self._ip(place, "link set lo up")
        for switch in (LAN, WAN):
            self._ip(switch, "link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
        self._plug(CLIENT, LAN, "10.8.0.2")
        self._plug(SERVER, WAN, SERVER_ADDRESS)
        self._ip(CLIENT, f"route add default via {SHARED_ADDRESS}")
        for router in ROUTERS:
            self._boot(router)
        self._start("answerer", SERVER, [sys.executable, "-I", answerer.__file__, SERVER_ADDRESS])
        words = [SERVER_ADDRESS, str(answerer.PORT), str(self._out)]
        self._start("measurer", CLIENT, [sys.executable, "-I", measurer.__file__, *words])

    def _plug(self, place: str, switch: str, address: str) -> None:
        port, interface = f"p-{place}", f"{switch}0"
        self._ip(switch, f"link add {port} type veth peer name {interface} netns {self._ns(place)}",
                 f"link set {port} master br0 up")  # fmt: skip
        self._ip(place, f"address add {address}/24 dev {interface}", f"link set {interface} up")

    def _boot(self, router: str) -> None:
        last = {"a": 11, "b": 12}[router]
        self._plug(router, LAN, f"10.8.0.{last}")
        self._plug(router, WAN, f"10.9.0.{last}")
        script = """
            sysctl -qw net.ipv4.ip_forward=1
            nft 'table ip nat { chain post { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }; }'
        """
        subprocess.run(["ip", "netns", "exec", self._ns(router), "sh", "-ec", script], check=True, timeout=30)
        config = self._folder / f"{router}.conf"
        config.write_text(CONFIG.format(priority=100 + last, advert=ADVERT_SECONDS, address=SHARED_ADDRESS))
        for left in self._folder.glob(f"{router}-*"):
            left.unlink()
        pids = [f"--{name}={self._folder / f'{router}-{name}'}" for name in ("pid", "vrrp_pid")]
        self._start(
            router, router, ["keepalived", "--dont-fork", "--vrrp", "--log-console", f"--use-file={config}", *pids]
        )

    def master(self) -> str:
        """Return the router that has the shared address."""
        return next(router for router in ROUTERS if f" {SHARED_ADDRESS}/" in self._addresses(router))

    def _addresses(self, router: str) -> str:
        command = ["ip", "-n", self._ns(router), "-4", "address", "show"]
        return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout

    def read(self) -> Record:
        """Return what the load has written so far."""
        with self._out.open() as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind("\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._record.take(line)
        return self._record

    def wait_steady(self) -> None:
        """Wait until the load gets through all the time, and both routers are up."""

        def steady() -> bool:
            last = self.read().attempts[-2 * IN_A_ROW :]
            return len(last) == 2 * IN_A_ROW and all(one.address for one in last)

        wait_for("keepalived's routers let everything through", steady, STEADY_SECONDS)

    def power_off(self) -> float:
        """Switch the master off; returns the gap, and has it back as the backup."""
        victim = self.master()
        at = time.monotonic()
        for switch in (WAN, LAN):
            self._ip(switch, f"link delete p-{victim}")
        self._kill(victim)
        gap = wait_for("the gap is over", lambda: gaps(self.read().attempts, at)[0][1], STEADY_SECONDS)
        self._boot(victim)
        # It must have heard the master before it may be one.
        time.sleep(20 * ADVERT_SECONDS)
        return gap

    def _kill(self, name: str) -> None:
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def end(self) -> None:
        """End everything."""
        for name in list(self._running):
            self._kill(name)
        for place in (LAN, WAN, CLIENT, SERVER, *ROUTERS):
            subprocess.run(["ip", "netns", "delete", self._ns(place)], check=False, timeout=30, capture_output=True)


@contextlib.contextmanager
def routers() -> Iterator[Routers]:
    """Run two routers meanwhile."""
    with tempfile.TemporaryDirectory(prefix="sgt-ka-", ignore_cleanup_errors=True) as folder:
        both = Routers(Path(folder))
        try:
            both.build()
            both.wait_steady()
            yield both
        finally:
            both.end()


def measure(rounds: int) -> Mapping[str, list[float]]:
    """Return the gaps after so many power cuts of the master."""
    with routers() as both:
        time.sleep(20 * ADVERT_SECONDS)
        return {"power off": [both.power_off() for _ in range(rounds)]}
