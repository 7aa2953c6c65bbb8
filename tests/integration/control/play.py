"""Play a scenario with a worker that can be killed at a crash point: requests, agents and time, until a goal is met."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypedDict

from django.db.models import Model
from pytest_django import Settings

from egress.control import clock, naming
from egress.control.errors import EgressError, StandsStill
from egress.control.models import AssignmentStatus, Event, GatewayStatus, RouteChange
from egress.control.models_installation import Installation
from egress.control.models_rollouts import Rollout
from egress.provider.base import Server

from .crash_sites import Site
from .crash_worker import Done, Worker
from .fleet import Fleet

#: What waits for news looks again after 10 s, without any.
ROUND_SECONDS = 11
#: The lease of a dead worker runs out meanwhile.
DEATH_SECONDS = 60
MAX_ROUNDS = 20
#: What the tests change of the worker's settings.
HANDED_ON = (
    "CLOCK_OFFSET_SECONDS",
    "EGRESS_DELETION_LIMIT",
    "EGRESS_REPAIR_BAD_MINIMUM",
    "EGRESS_REPAIR_POWER_CYCLES",
    "EGRESS_REPAIR_REBUILDS",
    "EGRESS_REPAIR_REPLACEMENTS",
)
#: More in one run, and a gateway's time to boot would be over.
MAX_DEATHS = 4


class Kill(TypedDict):
    """Die at the passage number `countdown` of `point`, "before" or "after" it."""

    point: str
    when: str
    countdown: int


NEVER = Kill(point="", when="before", countdown=1)


@dataclass
class Play:
    """One run of a scenario. `kills` says at which points workers die, one after the other."""

    fleet: Fleet
    worker: Worker
    settings: Settings
    kills: Iterator[Kill] = field(default_factory=lambda: iter(()))
    deaths: int = 0
    armed: bool = True
    points: set[str] = field(default_factory=set)
    sites: set[Site] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    #: Slots whose gateway is silent.
    silent: set[int] = field(default_factory=set)
    #: Connections that nodes report, by gateway.
    flows: dict[str, int] = field(default_factory=dict)
    max_steps: int = 40

    def __post_init__(self) -> None:
        self.kill = next(self.kills, NEVER)

    def prepare(self, act: Callable[[], object]) -> None:
        """Do something that this scenario isn't about."""
        self.armed = False
        act()
        self.armed = True

    # --- time, agents, workers, people -------------------------------------------------------------------------------

    def sleep(self, seconds: int) -> None:
        """Let the control plane's clock move on."""
        self.settings.CLOCK_OFFSET_SECONDS += seconds

    def agents(self) -> None:
        """Let nodes and gateways do what they do every few seconds."""
        if not self.fleet.app.assignments.exists():
            return
        self.fleet.lay_anew()
        for gateway in self.fleet.gateways():
            silent = gateway.slot in self.silent or gateway.server_id in self.fleet.dead
            if gateway.public_address and not silent:
                try:
                    if gateway.forwarding and str(gateway.pk) in self.fleet.tokens:
                        self.fleet.report_gateway(gateway)
                    else:
                        self.fleet.boot(gateway)
                except EgressError:
                    # It enrols again at its next attempt.
                    self.fleet.tokens.pop(str(gateway.pk), None)
        with suppress(StandsStill):
            self.fleet.nodes_follow(flows=self.flows)

    def work(self) -> None:
        """Let a worker do what is due."""
        self._do("work", max_steps=self.max_steps)

    def tidy(self) -> None:
        """Let a worker tidy up, and another if it dies; what is deleted must have been counted, and told, before."""
        before = {server.id for server in self.fleet.cloud.servers()}
        for _ in range(1 + MAX_DEATHS):
            killed = self._do("tidy").killed
            for gone in before - {server.id for server in self.fleet.cloud.servers()}:
                assert Event.objects.filter(new="deleting", old=gone).count() == 1, f"nobody was told of {gone}'s end"
            if not killed:
                return

    def watch(self) -> None:
        """Let a worker look for silence and begin repairs, and another if it dies; none of them was away before."""
        for _ in range(1 + MAX_DEATHS):
            Installation.objects.update(watched_at=clock.now(), judges_from=None)
            if not self.watch_once():
                return

    def watch_once(self) -> bool:
        """Let a worker look once; say whether it was killed."""
        return self._do("watch").killed

    def watch_a_dead_one(self) -> None:
        """Let the servers that are dead be found so, and what is to be done about it begin."""
        for seconds in (100, 40):
            self.sleep(seconds)
            self.agents()
            self.watch()

    def acknowledge(self, revision: int) -> None:
        """Let the node say that it applied `revision`, and once more when no answer came."""
        token, epoch = f"node-token-{self.fleet.nodes[0].name}", str(self.fleet.cluster.epoch)
        for _ in range(1 + MAX_DEATHS):
            if not self._do("acknowledge", token=token, epoch=epoch, revision=revision).killed:
                return

    def ask(self, service: str, taken: Callable[[], object] | None = None, **given: Model | str) -> None:
        """Make a request as a person does: once more, when no answer came and nothing shows that it was taken."""
        before = Event.objects.filter(kind="request").count()
        keys = {name: str(one.pk) if isinstance(one, Model) else one for name, one in given.items()}
        for _ in range(1 + MAX_DEATHS):
            self._do("ask", service=service, given=keys, actor=self.fleet.user.pk)
            if taken() if taken else Event.objects.filter(kind="request").count() > before:
                return
        raise AssertionError(f"{service} wasn't carried out: {self.errors}")

    def enable(self) -> None:
        self.ask("services.egress_enable", app=self.fleet.app)

    def disable(self) -> None:
        self.ask("services.egress_disable", app=self.fleet.app)

    def retry(self) -> None:
        self.ask("services.egress_retry", app=self.fleet.app)

    def rebuild(self) -> None:
        """Ask for a rebuild of the first gateway."""
        self.maintain("rebuild")

    def maintain(self, kind: str) -> None:
        """Ask for something to be done to the first gateway."""
        self.ask("maintenance.gateway_maintain", gateway=self.fleet.gateways()[0], kind=kind)

    def _do(self, what: str, **errand: object) -> Done:
        done = self.worker.do(
            what,
            cloud=str(self.fleet.cloud.folder),
            settings={name: getattr(self.settings, name) for name in HANDED_ON},
            kill=self.kill if self.armed else NEVER,
            **errand,
        )
        if self.armed:
            self.points |= set(done.points)
            self.sites |= {(module, function, line) for module, function, line in done.sites}
        if done.error:
            self.errors.append(done.error)
        if done.killed:
            self.deaths += 1
            self.kill = next(self.kills, NEVER)
            self.sleep(DEATH_SECONDS)
            self.agents()
        return done

    # --- goals -------------------------------------------------------------------------------------------------------

    def until(self, goal: Callable[[], object], *, every_seconds: int = ROUND_SECONDS) -> None:
        """Go on until `goal` is met."""
        for _ in range(MAX_ROUNDS):
            self.work()
            if goal():
                return
            self.sleep(every_seconds)
            self.agents()
        raise AssertionError(f"never reached: {self.fleet.assignment}, {self.statuses()}, {self.errors}")

    def rollout(self) -> Rollout:
        return Rollout.objects.filter(cluster=self.fleet.cluster).latest("pk")

    def items(self, state: str) -> int:
        """Return how many gateways of the rollout are in `state`."""
        return self.rollout().items.filter(state=state).count()

    def told(self) -> list[str]:
        """Return in what states nodes were told the gateways."""
        change = RouteChange.objects.get(cluster=self.fleet.cluster)
        return [gateway["state"] for gateway in change.route["gateways"]]

    def statuses(self) -> list[str]:
        return [gateway.provisioning_status for gateway in self.fleet.gateways()]

    def servers(self) -> list[Server]:
        """Return all servers that bear the tag of a gateway of ours, also of one that is deleted."""
        tags = {naming.gateway_tag(gateway.pk) for gateway in self.fleet.assignment.gateways.all()}
        return [server for server in self.fleet.cloud.servers() if tags & set(server.tags)]

    def is_active(self) -> bool:
        """Say whether the pair serves, and nothing is left to do."""
        assignment = self.fleet.assignment
        settled = (assignment.status, assignment.due_at) == (AssignmentStatus.ACTIVE, None)
        return settled and self.statuses() == ["ready", "ready"]

    def is_released(self) -> bool:
        return self.fleet.assignment.status == AssignmentStatus.RELEASED

    def is_stopped(self) -> bool:
        """Say whether it needs a person."""
        assignment = self.fleet.assignment
        failed = assignment.status == AssignmentStatus.ERROR or "error" in self.statuses()
        return failed and assignment.due_at is None

    def is_settled(self) -> bool:
        return self.is_stopped() or self.is_active()

    def bring_up(self) -> None:
        self.fleet.bring_up()
        assert self.is_active()

    def check(self) -> None:
        """Require the end that every crash must leave: a pair that serves, or nothing."""
        # A worker that died at the very last has left its lease; the one that looks now lives.
        self.prepare(self.work)
        servers = self.servers()
        assignment = self.fleet.assignment
        assert assignment.app.assignments.count() == 1
        assert (assignment.lease_until, assignment.lease_owner, assignment.error_code) == (None, "", "")
        change = RouteChange.objects.filter(cluster=self.fleet.cluster).first()
        route = change.route if change else None
        if assignment.status == AssignmentStatus.RELEASED:
            assert servers == []
            assert route is None
            assert {gateway.provisioning_status for gateway in assignment.gateways.all()} == {GatewayStatus.DELETED}
            return
        assert self.is_active()
        assert len(servers) == 2
        pair = self.fleet.gateways()
        assert {gateway.server_id for gateway in pair} == {server.id for server in servers}
        assert route is not None
        told = [(gateway["public_address"], gateway["state"]) for gateway in route["gateways"]]
        addresses = {server.id: server.public_address for server in servers}
        assert told == [(addresses[gateway.server_id], "active") for gateway in pair]
