"""A process inside a network namespace that does what a test tells it: one JSON object a line, one line back.

Run as a script it is the puppet; `Puppet` is the string to it. Pods open connections, the observer answers each
with the source address that it sees and sniffs the wire, a node drives a `Dataplane`.
"""

import collections
import contextlib
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__)
ROOT = HERE.parents[3]


class Puppet:
    """A puppet in namespace `netns`."""

    def __init__(self, netns: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", netns, sys.executable, str(HERE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.selector = selectors.DefaultSelector()
        assert self.process.stdout
        self.selector.register(self.process.stdout, selectors.EVENT_READ)

    def __call__(self, deed: str, **terms: object) -> object:
        """Have `deed` done and return its result; raises RuntimeError with what went wrong over there."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"deed": deed, **terms}), file=self.process.stdin, flush=True)
        if not self.selector.select(30):
            raise RuntimeError(f"no answer to {deed} in 30 s")
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.selector.close()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()


class Deeds:
    """What puppets can do."""

    def __init__(self) -> None:
        self.sockets: dict[str, socket.socket] = {}
        self.seen: collections.Counter[str] = collections.Counter()
        self.dataplane = None
        self.flags, self.boot = 1, "b"
        self.kept: list[tuple[str, str]] = []
        self.watching: set[str] = set()
        #: A server's open connections, and by what it speaks to each asker by datagrams.
        self.talks: list[socket.socket] = []
        self.askers: dict[tuple, socket.socket] = {}

    # --- a pod's

    def ask(self, to: str, port: int, kind: str = "tcp", timeout: float = 3, source: int = 0) -> str:
        """Open a connection and return the source address that its other end saw, or the error's name."""
        return self.open("", to, port, kind, timeout, source) if kind else ""

    def open(self, name: str, to: str, port: int, kind: str = "tcp", timeout: float = 3, source: int = 0) -> str:
        """Open a connection, keep it under `name` unless that is empty, and return what `say` returns."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        connection.settimeout(timeout)
        try:
            if source:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                connection.bind(("0.0.0.0", source))
            connection.connect((to, port))
            return self._say(connection)
        except OSError as error:
            return type(error).__name__ if error.errno is None else os.strerror(error.errno)
        finally:
            if name:
                self.sockets[name] = connection
            else:
                connection.close()

    def say(self, name: str) -> str:
        """Say something on the kept connection `name` and return the address that the other end sees."""
        try:
            return self._say(self.sockets[name])
        except OSError as error:
            return type(error).__name__ if error.errno is None else os.strerror(error.errno)

    def standing(self, name: str) -> str:
        """Return "open" for a kept connection that nothing has happened to, else what has."""
        connection = self.sockets[name]
        patience = connection.gettimeout()
        connection.settimeout(0)
        try:
            return "data" if connection.recv(200, socket.MSG_PEEK) else "closed"
        except BlockingIOError:
            return "open"
        except OSError as error:
            return os.strerror(error.errno)
        finally:
            connection.settimeout(patience)

    def tell(self, name: str, to: str, port: int, text: str = "tell") -> None:
        """Send one datagram from the kept socket `name`, waiting for nothing."""
        if name not in self.sockets:
            self.sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sockets[name].sendto(text.encode(), (to, port))

    def tell_marked(self, to: str, port: int, mark: int, source: str = "") -> None:
        """Send one datagram with a mark of one's own, from `source` if it isn't empty."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, 36, mark)  # SO_MARK
            sender.bind((source, 0))
            sender.sendto(b"EVIL-PAYLOAD", (to, port))

    def spoof(self, source: str, to: str, port: int, count: int = 5) -> None:
        """Send UDP datagrams with a false source address."""
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        datagram = struct.pack(">HHHH", 4444, port, 12, 0) + b"fake"
        head = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 17, 0) + socket.inet_aton(source) + socket.inet_aton(to)
        for _ in range(count):
            raw.sendto(head + datagram, (to, 0))

    def claim(self, address: str, target: str, mac: str) -> None:
        """Send ARP replies from eth0 that claim `address`, under `mac`, to everyone."""
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        wire.bind(("eth0", 0))
        own, everyone = bytes.fromhex(mac.replace(":", "")), b"\xff" * 6
        body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + own + socket.inet_aton(address)
        frame = everyone + own + b"\x08\x06" + body + everyone + socket.inet_aton(target)
        for _ in range(3):
            wire.send(frame)

    def send_frames(self, frames: list[str]) -> None:
        """Send whole frames, in hex, from eth0."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            for frame in frames:
                wire.send(bytes.fromhex(frame))

    def hang_up(self, name: str) -> None:
        """End the kept connection `name` at once, without the handshake that would come after."""
        with self.sockets.pop(name) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def port_of(self, name: str) -> int:
        """Return the port that the kept connection `name` has here."""
        return self.sockets[name].getsockname()[1]

    def flood(self, to: str, port: int) -> None:
        """Send datagrams from ever new ports until this process ends."""
        threading.Thread(target=self._flood, args=(to, port), daemon=True).start()

    @staticmethod
    def _flood(to: str, port: int) -> None:
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"flood", (to, port))

    def hammer(self, to: str, port: int) -> None:
        """Ask again and again, by TCP and UDP, until `hammered`."""
        self.hammering = True
        self.answers: list[str] = []
        threading.Thread(target=self._hammer, args=(to, port), daemon=True).start()

    def _hammer(self, to: str, port: int) -> None:
        while self.hammering:
            self.answers += [self.ask(to, port), self.ask(to, port, "udp")]
            time.sleep(0.002)

    def hammered(self) -> dict[str, int]:
        """Stop asking and return how often each answer came."""
        self.hammering = False
        return collections.Counter(self.answers)

    @staticmethod
    def _say(connection: socket.socket) -> str:
        connection.sendall(b"hello\n")
        return connection.recv(200).decode().strip()

    # --- a server's

    def serve(self, port: int, host: str) -> None:
        """Answer on TCP and UDP `port` of `host` with the address that the asker is seen under."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=500)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((host, port))
        threading.Thread(target=self._echo, args=(datagrams,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, address = listener.accept()
            self.talks.append(connection)
            threading.Thread(target=self._talk, args=(connection, address[0]), daemon=True).start()

    @staticmethod
    def _talk(connection: socket.socket, address: str) -> None:
        with connection:
            try:
                while connection.recv(200):
                    connection.sendall(f"{address}\n".encode())
            except OSError:
                return

    def _echo(self, datagrams: socket.socket) -> None:
        while True:
            said, address = datagrams.recvfrom(200)
            self.askers[address] = datagrams
            if said != b"tell":
                datagrams.sendto(address[0].encode(), address)

    def push(self) -> None:
        """Say something to everybody who ever asked, as a server's keepalive does."""
        for talk in tuple(self.talks):
            with contextlib.suppress(OSError):
                talk.sendall(b"still there?\n")
        for address, datagrams in tuple(self.askers.items()):
            with contextlib.suppress(OSError):
                datagrams.sendto(b"still there?", address)

    def answer_probes(self, host: str, key: str) -> None:
        """Answer nodes' probes at `host` as a gateway that forwards does."""
        from egress.wire import probe

        def answer() -> None:
            while True:
                request, sender = datagrams.recvfrom(200)
                nonce = probe.read_request(bytes.fromhex(key), request)
                if nonce:
                    reply = probe.answer(bytes.fromhex(key), nonce, flags=self.flags, boot_id=self.boot)
                    datagrams.sendto(reply, sender)

        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind((host, probe.PORT))
        threading.Thread(target=answer, daemon=True).start()

    def answer_otherwise(self, flags: int | None = None, boot: str | None = None) -> None:
        """Have probes answered with other flags, or as after another boot."""
        self.flags = self.flags if flags is None else flags
        self.boot = boot or self.boot

    def record_answers(self, source: str) -> None:
        """Keep the frames of answers to probes that `source` sends, whoever they are for, as they pass the bridge."""
        self.frames: list[bytes] = []
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        wire.bind(("p-gw-a", 0))
        wanted = socket.inet_aton(source)

        def record() -> None:
            while True:
                frame, address = wire.recvfrom(2000)
                if address[2] != socket.PACKET_OUTGOING and frame[26:30] == wanted and b"SGA1" in frame:
                    self.frames.append(frame)

        threading.Thread(target=record, daemon=True).start()

    def recorded(self) -> int:
        return len(self.frames)

    def replay(self) -> None:
        """Send what was recorded to the node again and again."""
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind(("p-n1", 0))
        self.sent = 0

        def send() -> None:
            while True:
                for frame in tuple(self.frames):
                    wire.send(frame)
                    self.sent += 1
                    time.sleep(0.001)

        threading.Thread(target=send, daemon=True).start()

    def replayed(self) -> int:
        return self.sent

    def lie(self, source: str, to: str, key: str) -> None:
        """Answer probes and echoes in the name of `source` that nobody asked this one for, at every port of `to`."""
        from egress.wire import probe

        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        answer = probe.answer(bytes.fromhex(key), b"\0" * 8, flags=1, boot_id="b")

        def head(protocol: int) -> bytes:
            ends = socket.inet_aton(source) + socket.inet_aton(to)
            return struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, protocol, 0) + ends

        def send() -> None:
            while True:
                for port in range(32768, 61000):
                    with contextlib.suppress(OSError):
                        datagram = struct.pack(">HHHH", probe.PORT, port, 8 + len(answer), 0) + answer
                        raw.sendto(head(17) + datagram, (to, 0))
                        raw.sendto(head(1) + struct.pack(">BBHHH", 0, 0, 0xFFFF, 0, 0), (to, 0))

        threading.Thread(target=send, daemon=True).start()

    def sniff(self, interface: str) -> None:
        """Count IPv4 packets that arrive on `interface`, by "source>destination"."""
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        wire.bind((interface, 0))
        threading.Thread(target=self._count, args=(wire,), daemon=True).start()

    def _count(self, wire: socket.socket) -> None:
        while True:
            frame, address = wire.recvfrom(200)
            kind, packet = address[2], frame[14:]
            if kind == socket.PACKET_OUTGOING or len(packet) < 20:
                continue
            if address[1] == 0x0800:
                self.seen[f"{socket.inet_ntoa(packet[12:16])}>{socket.inet_ntoa(packet[16:20])}"] += 1
            elif address[1] == 0x86DD and packet[24] & 0xE0 == 0x20:
                self.seen["ipv6"] += 1

    def seen_packets(self) -> dict[str, int]:
        """Return the counts and start anew."""
        time.sleep(0.05)
        counts, self.seen = dict(self.seen), collections.Counter()
        return counts

    def watch(self, interfaces: list[str]) -> None:
        """Keep what arrives on each of `interfaces`: IP packets that aren't a link's own business."""
        for interface in set(interfaces) - self.watching:
            self.watching.add(interface)
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            wire.bind((interface, 0))
            threading.Thread(target=self._keep, args=(wire, interface), daemon=True).start()

    def _keep(self, wire: socket.socket, interface: str) -> None:
        while True:
            frame, address = wire.recvfrom(2000)
            packet = frame[14:]
            linkwide = address[1] == 0x86DD and (packet[24] == 0xFF or packet[8:10] == b"\xfe\x80")
            if address[2] != socket.PACKET_OUTGOING and address[1] in {0x0800, 0x86DD} and not linkwide:
                self.kept.append((interface, packet.hex()))

    def watched(self) -> list[tuple[str, str]]:
        """Return what was kept since the last call, as (interface, packet in hex)."""
        kept, self.kept = self.kept, []
        return kept

    # --- a node's

    def dataplane_new(self, state_dir: str) -> None:
        from egress.node.dataplane import Dataplane

        if self.dataplane:
            self.dataplane.close()
        self.dataplane = Dataplane(state_dir=Path(state_dir))

    def start(self, wish: dict) -> None:
        self.dataplane.start(_wish(wish))

    def reconcile(self, wish: dict) -> dict:
        return _told(self.dataplane.reconcile(_wish(wish)))

    def change(self, wish: dict) -> dict:
        seen = self.dataplane.change(_wish(wish))
        return {**_told(seen), "again_seconds": seen.again_seconds}

    def altered(self) -> bool:
        return self.dataplane.altered()

    def pod_added(self, wish: dict, pod: dict) -> None:
        from egress.netkit.desired import Pod

        self.dataplane.pod_added(_wish(wish), Pod(**pod))

    def pod_removed(self, wish: dict, address: str) -> None:
        self.dataplane.pod_removed(_wish(wish), address)

    def unsure(self) -> None:
        self.dataplane.unsure()

    def returned(self) -> dict[str, int]:
        return self.dataplane.returned()

    def destroy(self, address: str, port: int, peer: str, peer_port: int) -> bool:
        from egress.netkit.sockets import Connection, Sockets

        return Sockets().destroy(Connection(address, port, peer, peer_port))

    def uninstall(self) -> None:
        self.dataplane.uninstall()

    def probe(self, targets: dict[str, str], key: str, interface: str) -> None:
        """Probe gateways, as the agent does, until `probe_no_more`."""
        import asyncio

        from egress.node.judge import Target
        from egress.node.prober import Prober
        from egress.wire.messages import Probing

        self.prober = Prober(lambda: None, interface=interface)
        self.prober.follow({name: Target(address) for name, address in targets.items()}, key, Probing())
        self.loop = asyncio.new_event_loop()
        self.probing = self.loop.create_task(self.prober.run())

        def run() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(self.probing)

        threading.Thread(target=run, daemon=True).start()

    def probed(self) -> list[str]:
        """Return the verdicts that were in force at one time or another during the next second."""
        seen = set()
        for _ in range(100):
            seen |= set(self.prober.judge.health().values())
            time.sleep(0.01)
        return sorted(seen)

    def probed_from(self) -> int:
        """Return the port that probes leave from: the one open datagram socket that nobody else here made."""
        lines = Path("/proc/net/udp").read_text().splitlines()[1:]
        return max(int(line.split()[1].partition(":")[2], 16) for line in lines)

    def probe_no_more(self) -> None:
        self.loop.call_soon_threadsafe(self.probing.cancel)


def _told(seen: object) -> dict:
    return {"flows": dict(seen.flows), "repaired": list(seen.repaired), "warnings": list(seen.warnings)}


def _wish(terms: dict) -> object:
    from egress.netkit.desired import Pod, Wish
    from egress.wire.codec import decode
    from egress.wire.messages import ClusterSettings, Route

    routes = [decode(Route, json.dumps(route).encode()) for route in terms["routes"]]
    return Wish(
        settings=decode(ClusterSettings, json.dumps(terms["settings"]).encode()),
        private_interface=terms.get("private_interface", "eth1"),
        private_address=terms["private_address"],
        ordinal=terms["ordinal"],
        routes={route.namespace: route for route in routes},
        pods={pod["address"]: Pod(**pod) for pod in terms["pods"]},
        suspect=frozenset(terms.get("suspect", ())) | frozenset(terms.get("dead", ())),
        dead=frozenset(terms.get("dead", ())),
        resting=tuple(terms.get("resting", ())),
    )


def main() -> None:
    deeds = Deeds()
    for line in sys.stdin:
        terms = json.loads(line)
        try:
            answer = {"result": getattr(deeds, terms.pop("deed"))(**terms)}
        except Exception as error:  # noqa: BLE001 - whatever it was, the test shall see it
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
