"""A gateway's surroundings as network namespaces, with sockets that tests use directly.

node 10.110.0.21 ─────┐
stranger 10.110.0.99 ─┤ vpc (bridge)
                      └─ eth1 10.110.0.101  gw  eth0 203.0.113.7 ── 203.0.113.1  internet (observer 192.0.2.80)
"""

import contextlib
import ctypes
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")

PUBLIC = "203.0.113.7"
ROUTER = "203.0.113.1"
PRIVATE = "10.110.0.101"
NODE = "10.110.0.21"
STRANGER = "10.110.0.99"
VPC = "10.110.0.0/20"
OBSERVER = "192.0.2.80"
#: Where nothing may be forwarded to; the internet of this world would take it.
REFUSED = ("10.99.0.1", "172.20.0.1", "192.168.7.1", "100.64.0.1", "169.254.169.254", "10.110.7.7")
_libc = ctypes.CDLL(None, use_errno=True)
_counter = itertools.count()
_ETH_P_IP = 0x0800


def run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def eventually(condition: Callable[[], T], *, seconds: float = 30, what: str = "") -> T:
    """Wait until `condition` is truthy; the bound is generous, nothing depends on speed."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run `work` on a thread that has entered `namespace`; the sockets that it makes stay there."""

    def enter() -> T:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            assert _libc.setns(descriptor, 0x40000000) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(descriptor)
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result(30)


class World:
    """The namespaces and what was seen outside."""

    def __init__(self) -> None:
        prefix = f"sgt-{os.getpid()}-{next(_counter)}"
        self.node, self.stranger, self.gateway, self.internet, self.vpc = (
            f"{prefix}-{name}" for name in ("node", "str", "gw", "net", "vpc")
        )
        self._close: list[Callable[[], object]] = []
        self._observer: Observer | None = None

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for close in reversed(self._close):
            close()

    def _build(self) -> None:
        for name in (self.node, self.stranger, self.gateway, self.internet, self.vpc):
            run("ip", "netns", "add", name)
            self._close.append(lambda name=name: run("ip", "netns", "del", name))
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.vpc, "link", "add", "br0", "up", "type", "bridge")
        for name, interface, address in (
            (self.node, "eth0", NODE),
            (self.stranger, "eth0", STRANGER),
            (self.gateway, "eth1", PRIVATE),
        ):
            port = f"p{interface}{address.rpartition('.')[2]}"
            run("ip", "-n", self.vpc, "link", "add", port, "up", "type", "veth", "peer", interface, "netns", name)
            run("ip", "-n", self.vpc, "link", "set", port, "master", "br0")
            self._up(name, interface, f"{address}/20")
        for name in (self.node, self.stranger):
            run("ip", "-n", name, "route", "add", "default", "via", PRIVATE)
        # The node sends also into the VPC's range through the gateway, to see that it is refused.
        run("ip", "-n", self.node, "route", "add", "10.110.7.7", "via", PRIVATE)
        run("ip", "-n", self.gateway, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", self.internet)
        self._up(self.internet, "eth0", f"{ROUTER}/24")
        self._up(self.gateway, "eth0", f"{PUBLIC}/24")
        # As a hardened image has it; Ubuntu's own is 2.
        inside(self.gateway, lambda: Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1"))
        # As on DigitalOcean: an anchor address of a private range on the public interface.
        run("ip", "-n", self.gateway, "address", "add", "10.17.0.5/16", "dev", "eth0")
        run("ip", "-n", self.gateway, "route", "add", "default", "via", ROUTER)
        run("ip", "-n", self.gateway, "route", "add", "10.110.7.7", "via", ROUTER)
        for address in (OBSERVER, *REFUSED):
            run("ip", "-n", self.internet, "address", "add", f"{address}/32", "dev", "lo")
        run("ip", "-n", self.internet, "route", "add", "10.110.0.0/24", "via", PUBLIC)
        self._observer = Observer(self.internet)
        self._close.append(self._observer.close)

    def _up(self, namespace: str, interface: str, address: str) -> None:
        run("ip", "-n", namespace, "address", "add", address, "dev", interface)
        run("ip", "-n", namespace, "link", "set", interface, "up")

    def seen(self) -> set[str]:
        """Return the source addresses of all packets for the observer or a refused range, since the last call."""
        assert self._observer
        return self._observer.seen()

    def tcp(self, namespace: str, *, to: str = OBSERVER, timeout_seconds: float = 5) -> socket.socket:
        """Return a connection from `namespace` to the observer, which says who it sees and then echoes."""

        def connect() -> socket.socket:
            return socket.create_connection((to, 80), timeout=timeout_seconds)

        return inside(namespace, connect)

    def tcp_source(self, namespace: str, *, to: str = OBSERVER) -> str:
        """Return the address under which `namespace` reaches the observer by TCP."""
        with self.tcp(namespace, to=to) as connection:
            return connection.recv(100).decode()

    def udp(self, namespace: str) -> socket.socket:
        """Return a UDP socket of `namespace`."""
        return inside(namespace, _udp)

    def udp_source(self, namespace: str) -> str | None:
        """Return the address under which `namespace` reaches the observer by UDP, None when no answer comes."""
        with self.udp(namespace) as sender:
            sender.sendto(b"who", (OBSERVER, 7))
            try:
                return sender.recv(100).decode()
            except TimeoutError:
                return None

    def blocked(self, namespace: str, *, to: str = OBSERVER) -> bool:
        """Tell whether a TCP connection from `namespace` fails."""
        try:
            self.tcp(namespace, to=to, timeout_seconds=0.5).close()
        except OSError:
            return True
        return False


def _udp() -> socket.socket:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.settimeout(1)
    return sender


class Observer:
    """The internet: answers on TCP 80 and UDP 7 with the caller's address, and captures what arrives."""

    def __init__(self, namespace: str) -> None:
        self._tcp, self._udp, self._capture = inside(namespace, self._sockets)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._answer_tcp, self._answer_udp)]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _sockets() -> tuple[socket.socket, socket.socket, socket.socket]:
        tcp = socket.create_server(("0.0.0.0", 80), backlog=256)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((OBSERVER, 7))  # answers come from the address that was asked
        capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        capture.bind(("eth0", _ETH_P_IP))
        capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        return tcp, udp, capture

    def seen(self) -> set[str]:
        sources = set()
        while select.select([self._capture], [], [], 0)[0]:
            packet, (_, _, kind, *_) = self._capture.recvfrom(65535)
            destination = socket.inet_ntoa(packet[16:20])
            if kind != socket.PACKET_OUTGOING and destination in (OBSERVER, *REFUSED):
                sources.add(socket.inet_ntoa(packet[12:16]))
        return sources

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        for each in (self._tcp, self._udp, self._capture):
            each.close()

    def _answer_tcp(self) -> None:
        open_connections = []
        while not self._stop.is_set():
            ready, _, _ = select.select([self._tcp, *open_connections], [], [], 0.1)
            for each in ready:
                if each is self._tcp:
                    connection, caller = self._tcp.accept()
                    connection.sendall(caller[0].encode())
                    open_connections.append(connection)
                elif not _echo(each):
                    each.close()
                    open_connections.remove(each)
        for connection in open_connections:
            # Without lingering: a closed test leaves no packets behind.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    def _answer_udp(self) -> None:
        while not self._stop.is_set():
            if select.select([self._udp], [], [], 0.1)[0]:
                _, caller = self._udp.recvfrom(100)
                with contextlib.suppress(OSError):
                    self._udp.sendto(caller[0].encode(), caller)


def _echo(connection: socket.socket) -> bool:
    try:
        content = connection.recv(65536)
        connection.sendall(content)
    except OSError:
        return False
    return bool(content)


@contextlib.contextmanager
def process(namespace: str, *command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `namespace`, its output going to `log`, and end it."""
    with log.open("ab") as output:
        started = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=output, stderr=output)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.wait(30)
