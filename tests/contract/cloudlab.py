"""The lab's cloud API on a real TLS server, with machines that exist only in memory, and a record of what was said."""

import asyncio
import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import trustme
import uvicorn
from starlette.applications import Starlette

from egress.lab.cloud.app import create_app, server_config
from egress.lab.cloud.faults import Faults
from egress.lab.cloud.state import CloudLayout, CloudState
from egress.lab.cloud.work import CloudWork
from egress.lab.hypervisor import HypervisorError, Machine
from egress.provider.base import ServerSpec
from egress.provider.digitalocean import DigitalOcean

TOKEN = "dop_v1_" + "0123456789abcdef" * 4
PATIENCE_SECONDS = 20

T = TypeVar("T")


class MemoryHypervisor:
    """Machines that are on or off and do nothing. `fail` names calls that raise; `hold` makes calls wait."""

    def __init__(self) -> None:
        self.power: dict[int, bool] = {}
        self.systems: dict[int, Machine] = {}
        self.hung: set[int] = set()
        self.calls: list[tuple[str, int]] = []
        self.fail: set[str] = set()
        self.held = threading.Event()
        self.held.set()

    async def _call(self, name: str, machine_id: int, *, power: bool | None) -> None:
        self.calls.append((name, machine_id))
        await asyncio.to_thread(self.held.wait, PATIENCE_SECONDS)
        if name in self.fail:
            raise HypervisorError(f"{name} was told to fail")
        if power is None:
            self.power.pop(machine_id, None)
        else:
            self.power[machine_id] = power

    async def boot(self, machine: Machine) -> None:
        await self._call("boot", machine.id, power=True)
        self.systems[machine.id] = machine

    def is_up(self, machine_id: int) -> bool:
        """Say whether the machine has power, and user data that brought an agent to it."""
        on = self.power.get(machine_id, False) and machine_id not in self.hung
        return on and bool(self.systems[machine_id].user_data)

    async def power_off(self, machine_id: int) -> None:
        await self._call("power_off", machine_id, power=False)

    async def power_on(self, machine: Machine) -> None:
        await self._call("power_on", machine.id, power=True)

    async def power_cycle(self, machine: Machine) -> None:
        await self._call("power_cycle", machine.id, power=True)

    async def shutdown(self, machine_id: int) -> None:
        await self._call("shutdown", machine_id, power=False)

    async def reboot(self, machine: Machine) -> None:
        await self._call("reboot", machine.id, power=True)

    async def rebuild(self, machine: Machine) -> None:
        await self._call("rebuild", machine.id, power=True)
        self.systems[machine.id] = machine

    async def destroy(self, machine_id: int) -> None:
        await self._call("destroy", machine_id, power=None)


@dataclass
class Exchange:
    """One request and the answer that it got; `status` is 0 when it got none."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    @property
    def by_pydo(self) -> bool:
        return "pydo" in self.headers.get("user-agent", "")


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Recorder:
    """An ASGI application that passes everything on and notes it down."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(
            method=scope["method"].lower(),
            path=scope["path"],
            query=scope["query_string"].decode(),
            headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        )
        self.exchanges.append(exchange)

        async def noting_receive() -> Message:
            message = await receive()
            exchange.body += message.get("body", b"")
            return message

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                exchange.answer_headers = {name.decode(): value.decode() for name, value in message["headers"]}
            exchange.answer += message.get("body", b"")
            await send(message)

        await self.app(scope, noting_receive, noting_send)


class Certificates:
    """A CA of our own, and a certificate for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.server_file = folder / "server.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.server_file)


@dataclass
class Answer:
    """An answer to a plain HTTP request."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class CloudLab:
    """A running cloud."""

    url: str
    certificates: Certificates
    state: CloudState
    work: CloudWork
    faults: Faults
    hypervisor: MemoryHypervisor
    exchanges: list[Exchange]

    def provider(self, token: str = TOKEN) -> DigitalOcean:
        return DigitalOcean(token, api_url=self.url, ca_file=str(self.certificates.ca_file))

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, raw: bytes | None = None
    ) -> Answer:
        """Speak to the API without pydo; `raw` is a body that isn't JSON."""
        connection = http.client.HTTPSConnection(
            urlsplit(self.url).netloc,
            timeout=PATIENCE_SECONDS,
            context=ssl.create_default_context(cafile=self.certificates.ca_file),
        )
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method, path, content, {**headers, "Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            return Answer(response.status, dict(response.getheaders()), json.loads(answer) if answer else None)

    def settle(self) -> None:
        """Wait until no action is in progress."""
        wait_until(lambda: not self.state._pending)

    def finish(self) -> None:
        """Wait until nothing is left to do, not even for requests that come late."""
        wait_until(lambda: not self.work.busy)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.01)


def spec(name: str = "sg-test-a", *tags: str, **other: Any) -> ServerSpec:
    """Return a spec that the lab's cloud accepts."""
    wanted: dict[str, Any] = {
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64",
        "user_data": "#cloud-config\nhostname: gateway\n",
        "vpc_id": CloudLayout().vpc_uuid,
    }
    return ServerSpec(name=name, tags=tags or ("sluicegate:test", f"gateway:{name}"), **wanted | other)


class Server:
    """One TLS server on loopback that lives as long as the tests; each test plugs its own cloud into it."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.app: Any = None
        config = server_config(
            Starlette(), host="127.0.0.1", port=0, certificate=certificates.server_file, key=certificates.server_file
        )
        config.app, config.lifespan, config.interface = self._pass_on, "off", "asgi3"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        self.url = f"https://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve()
        # A TLS connection waits for its peer to close as well; the event loop mustn't end before.
        for transport in list(self._loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        await asyncio.sleep(0)

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.begin(work).result(PATIENCE_SECONDS)

    def begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start `work` in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def running(server: Server, *, hypervisor: MemoryHypervisor | None = None, **options: Any) -> Iterator[CloudLab]:
    """Serve a new cloud; `options` go to create_app."""
    hypervisor = hypervisor or MemoryHypervisor()
    app = create_app(hypervisor, tokens=[TOKEN], **options)
    recorder = Recorder(app)
    lifespan = app.router.lifespan_context(app)
    server.run(lifespan.__aenter__())
    server.app = recorder
    try:
        yield CloudLab(
            url=server.url,
            certificates=server.certificates,
            state=app.state.cloud,
            work=app.state.work,
            faults=app.state.faults,
            hypervisor=hypervisor,
            exchanges=recorder.exchanges,
        )
    finally:
        hypervisor.held.set()
        server.run(lifespan.__aexit__(None, None, None))


def query_of(exchange: Exchange) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(exchange.query).items()}
