"""The lab's cloud with faults by chance, and gateways that are no machines: each only speaks with the control plane."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from egress.gateway.userdata import CONFIG_PATH
from egress.lab.cloud.faults import Fault, FaultKind, Faults, Operation
from egress.lab.cloud.state import CloudLayout
from egress.lab.hypervisor import Machine
from egress.wire.messages import (
    Done,
    GatewayEnrol,
    GatewayEnrolled,
    GatewayReport,
    GatewaySync,
    GatewaySyncRequest,
)
from tests.contract.cloudlab import MemoryHypervisor
from tests.wirelevel import Broken, Line, Refused

#: Addresses of this machine, so that a gateway's requests really come from its public address.
LAYOUT = CloudLayout(public_addresses=("127.1.0.10", "127.1.0.250"))
PAUSE_SECONDS = 0.3
REPORT_SECONDS = 5
POLL_SECONDS = 20

#: What can befall a request, by operation; a creation also meets a lack of capacity, which people must retry.
BEFORE_AND_AFTER: tuple[FaultKind, ...] = ("failed_before", "failed_after", "dropped", "rate_limited", "slow")
CREATION: tuple[FaultKind, ...] = (*BEFORE_AND_AFTER, "no_capacity")


class Deck(Faults):
    """Faults by chance, but each kind as often as the others: drawn from shuffled cards, most of which are blank.

    Every tenth request meets one, and every third creation, which is what can go wrong worst. `struck` counts them.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._dice = random.Random(seed)  # noqa: S311  # no secret hangs on it
        self._cards: dict[bool, list[FaultKind | None]] = {True: [], False: []}
        self.struck: Counter[str] = Counter()

    def take(self, operation: Operation) -> Fault | None:
        """Draw a card for one request."""
        creates = operation == "create"
        cards = self._cards[creates]
        if not cards:
            kinds = CREATION if creates else BEFORE_AND_AFTER
            blanks = (2 if creates else 9) * len(kinds)
            cards += [*kinds, *[None] * blanks]
            self._dice.shuffle(cards)
        kind = cards.pop()
        if kind is None:
            return None
        self.struck[f"{operation} {kind}"] += 1
        return Fault(kind=kind, operation=operation, left=1, delay_seconds=self._dice.uniform(0, 1), status=503)


@dataclass
class PlayedGateway:
    """What runs on one machine: an agent that enrols, learns the nodes and reports that it forwards."""

    machine: Machine
    gateway_id: str
    secret: str
    where: tuple[str, int]
    applied: int = 0
    clients: tuple[str, ...] = ()
    token: str = ""
    task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, machine: Machine) -> "PlayedGateway":
        """Read the machine's user data, as the agent on it would."""
        document = json.loads(machine.user_data.removeprefix("#cloud-config\n"))
        config = next(json.loads(each["content"]) for each in document["write_files"] if each["path"] == CONFIG_PATH)
        plane = urlsplit(config["control_plane_url"])
        assert plane.hostname
        assert plane.port
        where = plane.hostname, plane.port
        return cls(machine, config["gateway_id"], config["enrolment_secret"], where)

    async def run(self) -> None:
        """Enrol, then serve until the control plane knows us no more."""
        with closing(Line(*self.where, source=self.machine.public_address)) as line:
            enrol = GatewayEnrol(gateway_id=self.gateway_id, boot_id="boot", agent_version="1")
            while not self.token:
                try:
                    self.token = (await line.call("gateways/enrol", self.secret, enrol, GatewayEnrolled)).token
                except (Refused, Broken):
                    # No window yet, no address yet, or nobody there.
                    await asyncio.sleep(PAUSE_SECONDS)
        with closing(Line(*self.where)) as poll, closing(Line(*self.where)) as report:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._repeat(self._follow, poll))
                both.create_task(self._repeat(self._report, report))

    async def _repeat(self, step: Callable[[Line], Awaitable[float]], line: Line) -> None:
        """Take `step`, which returns how long to pause, until our credential is void."""
        while True:
            try:
                pause = await step(line)
            except Broken:
                pause = PAUSE_SECONDS
            except Refused as error:
                if error.status == HTTPStatus.UNAUTHORIZED:
                    return
                pause = PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def _follow(self, line: Line) -> float:
        asked = GatewaySyncRequest(applied_revision=self.applied, wait_seconds=POLL_SECONDS)
        reply = await line.call("gateways/sync", self.token, asked, GatewaySync, wait_seconds=POLL_SECONDS)
        self.applied, self.clients = reply.revision, reply.clients
        return 0

    async def _report(self, line: Line) -> float:
        forwarding = bool(self.clients)
        report = GatewayReport(boot_id="boot", agent_version="1", forwarding=forwarding)
        await line.call("gateways/report", self.token, report, Done)
        return REPORT_SECONDS if forwarding else PAUSE_SECONDS


class Hypervisor(MemoryHypervisor):
    """Machines on which a played gateway runs. `doubles` names gateways that ever had two machines at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gateways: dict[int, PlayedGateway] = {}
        self.doubles: list[str] = []

    async def boot(self, machine: Machine) -> None:
        """Switch on."""
        await super().boot(machine)
        gateway = PlayedGateway.of(machine)
        if any(other.gateway_id == gateway.gateway_id for other in self.gateways.values()):
            self.doubles.append(gateway.gateway_id)
        self.gateways[machine.id] = gateway
        gateway.task = asyncio.create_task(gateway.run())

    async def destroy(self, machine_id: int) -> None:
        """Switch off for good."""
        await super().destroy(machine_id)
        gateway = self.gateways.pop(machine_id, None)
        if gateway and gateway.task:
            gateway.task.cancel()
            await asyncio.wait([gateway.task])
