"""The other end of the internet: servers that answer with the caller's address, and a count of all packets seen."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from .errors import BadRequest
from .netns import inside, nft, open_in
from .process import check
from .sightings import Call, Flow, Observed

HTTP_PORT, ECHO_PORT = 80, 7
MAX_LOG = 20_000
MAX_MARKS = 50
MAX_FLOWS = 8_192
MAX_HOLD_SECONDS = 3_600
MAX_CONNECTIONS = 1_000
_IP_PKTINFO = 8

#: Counts in the kernel, so that no load makes it miss a packet; `missed` counts what the full sets had no room for.
SNIFFER = f"""
table inet sniffer {{
  set out_ports {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; size {MAX_FLOWS}; flags dynamic; counter; }}
  set in_ports {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; size {MAX_FLOWS}; flags dynamic; counter; }}
  set out_others {{ type ipv4_addr . ipv4_addr . inet_proto; size {MAX_FLOWS}; flags dynamic; counter; }}
  set in_others {{ type ipv4_addr . ipv4_addr . inet_proto; size {MAX_FLOWS}; flags dynamic; counter; }}
  counter missed {{ }}
  chain out {{
    type filter hook prerouting priority raw;
    iifname != "eth0" return
    ip frag-off & 0x1fff == 0 meta l4proto {{ tcp, udp }} update @out_ports \
        {{ ip saddr . ip daddr . meta l4proto . th dport }} return
    update @out_others {{ ip saddr . ip daddr . meta l4proto }} return
    counter name missed
  }}
  chain in {{
    type filter hook postrouting priority 300;
    oifname != "eth0" return
    ip frag-off & 0x1fff == 0 meta l4proto {{ tcp, udp }} update @in_ports \
        {{ ip daddr . ip saddr . meta l4proto . th sport }} return
    update @in_others {{ ip daddr . ip saddr . meta l4proto }} return
    counter name missed
  }}
}}
"""


#: Direction, caller's address, internet's address, protocol, port.
_Key = tuple[str, str, str, str, int]


class Servers:
    """The servers of the internet and of nodes; they answer with the caller's address and keep a bounded log."""

    def __init__(self) -> None:
        self.log: deque[Call] = deque(maxlen=MAX_LOG)
        self.count = 0
        routes = [Route("/hold", self._hold), Route("/{path:path}", self._answer)]
        self.app = Starlette(routes=routes)

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Answer HTTP on `sockets` until cancelled."""
        await serve_http(self.app, sockets, limit_concurrency=MAX_CONNECTIONS)

    def serve_echo(self, udp: socket.socket) -> None:
        """Answer datagrams on `udp` with "address port", each from the address that it was sent to."""
        asyncio.get_running_loop().add_reader(udp, self._echo, udp)

    def _echo(self, udp: socket.socket) -> None:
        with contextlib.suppress(OSError):  # an unreachable caller's ICMP error, or nothing to read after all
            _, ancillary, _, caller = udp.recvmsg(2048, 64)
            answer = f"{caller[0]} {caller[1]}\n".encode()
            for level, kind, data in ancillary:
                if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
                    _, _, asked = struct.unpack("=i4s4s", data[:12])
                    self._note("udp", caller[0], caller[1], socket.inet_ntoa(asked), "")
                    reply = [(level, kind, struct.pack("=i4s4s", 0, asked, bytes(4)))]
                    udp.sendmsg([answer], reply, 0, caller)

    async def _answer(self, request: Request) -> Response:
        call = self._note_request(request)
        headers = {"Cache-Control": "no-store"}
        if "application/json" in request.headers.get("accept", ""):
            shown = {"address": call.source, "port": call.source_port, "destination": call.destination}
            return JSONResponse(shown, headers=headers)
        return PlainTextResponse(call.source + "\n", headers=headers)

    async def _hold(self, request: Request) -> Response:
        try:
            seconds = float(request.query_params.get("seconds", "10"))
        except ValueError:
            return PlainTextResponse("seconds must be a number\n", status_code=400)
        call = self._note_request(request)
        return StreamingResponse(_ticks(call.source, min(seconds, MAX_HOLD_SECONDS)), media_type="text/plain")

    def _note_request(self, request: Request) -> Call:
        source, port = request.client or ("", 0)
        destination, _ = request.scope.get("server") or ("", 0)
        return self._note("tcp", source, port, destination, request.url.path[:200])

    def _note(self, protocol: str, source: str, port: int, destination: str, path: str) -> Call:
        self.count += 1
        call = Call(self.count, time.time(), protocol, source, port, destination, path)
        self.log.append(call)
        return call


async def _ticks(source: str, seconds: float) -> AsyncIterator[str]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield source + "\n"
        await asyncio.sleep(0.1)


class Server(uvicorn.Server):
    """Leaves signals to the daemon, which has several servers in one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve_http(app: Any, sockets: list[socket.socket], **options: Any) -> None:
    """Serve an ASGI application on listening `sockets` until cancelled; `options` are uvicorn's."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        **options,
    )
    server = Server(config)
    try:
        await server.serve(sockets=sockets)
    finally:
        for listening in sockets:
            listening.close()


class Sniffer:
    """Counts every packet between the internet and everybody else; a mark remembers the counts of a moment."""

    def __init__(self, place: str, servers: Servers) -> None:
        self._place = place
        self._servers = servers
        self._marks: dict[str, tuple[dict[_Key, int], int]] = {}

    async def start(self) -> None:
        """Begin to count."""
        await nft(self._place, SNIFFER)

    async def mark(self, name: str) -> None:
        """Remember this moment under `name`; the oldest mark goes when there are too many."""
        counts, _ = await self._counts()
        self._marks.pop(name, None)
        self._marks[name] = (counts, self._servers.count)
        if len(self._marks) > MAX_MARKS:
            del self._marks[next(iter(self._marks))]

    async def observed(self, name: str = "") -> dict[str, Any]:
        """Return, as a dict, what was `Observed` since mark `name`, or since the start. Raises BadRequest."""
        if name and name not in self._marks:
            raise BadRequest(f"there is no mark {name!r}: set it first with the command mark")
        before, number = self._marks[name] if name else ({}, 0)
        counts, missed = await self._counts()
        flows = (Flow(*key, packets=n - before.get(key, 0)) for key, n in counts.items())
        calls = tuple(call for call in self._servers.log if call.number > number)
        seen = Observed(
            flows=tuple(flow for flow in flows if flow.packets),
            calls=calls,
            missed=missed,
            calls_lost=self._servers.count - number - len(calls),
        )
        return asdict(seen)

    async def _counts(self) -> tuple[dict[_Key, int], int]:
        command = [*inside(self._place), "nft", "-j", "list", "table", "inet", "sniffer"]
        return _parse(json.loads(await check(command, limit_seconds=30)))


def _parse(listing: dict[str, Any]) -> tuple[dict[_Key, int], int]:
    counts: dict[_Key, int] = {}
    missed = 0
    for item in listing["nftables"]:
        if "set" in item:
            direction = item["set"]["name"].split("_")[0]
            for element in item["set"].get("elem", []):
                source, destination, protocol, *port = element["elem"]["val"]["concat"]
                key = (direction, source, destination, str(protocol), port[0] if port else 0)
                counts[key] = element["elem"]["counter"]["packets"]
        elif "counter" in item:
            missed = item["counter"]["packets"]
    return counts, missed


def listen_tcp(place: str, address: str, port: int) -> socket.socket:
    """Return a listening socket in the namespace `place`."""
    return open_in(place, lambda: socket.create_server((address, port), backlog=512))


def listen_udp(place: str, port: int) -> socket.socket:
    """Return a datagram socket in the namespace `place` that tells which address each datagram was sent to."""

    def make() -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        udp.setblocking(False)
        udp.bind(("", port))
        return udp

    return open_in(place, make)
