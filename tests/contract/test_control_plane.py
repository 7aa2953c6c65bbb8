"""Whatever the cloud does, the control plane ends with two gateways, or with an error that a retry or disable leaves.

The real reconcile, adapter and pydo, over TLS, against the lab's cloud and all of its faults.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

import pytest
from pytest_django import Settings

from egress.control import clock, health, provider_access
from egress.control.attention import any_of, gateway_concerns
from egress.control.errors import EgressError
from egress.control.inventory import tidy
from egress.control.maintenance import gateway_maintain
from egress.control.models import Assignment, AssignmentStatus, Gateway, GatewayStatus, RouteChange
from egress.control.models_rollouts import Maintenance
from egress.control.reconcile.loop import reconcile
from egress.control.selectors import egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry
from egress.control.waiting import stuck_deletion
from egress.lab.cloud.faults import DROPLET_FAULTS, FaultKind
from egress.lab.cloud.state import CloudLayout
from tests.contract.cloudlab import TOKEN, CloudLab
from tests.integration.control.fleet import Fleet, make_fleet

pytestmark = [pytest.mark.django_db]

ROUNDS = 25
QUICK_ROUNDS = 6
#: Of an action that is stuck, before the cloud gives it up.
STUCK_SECONDS = 0.5


@dataclass
class Plant:
    """A control plane on the lab's cloud. Its clock is moved on, so that nothing is waited for but the cloud."""

    fleet: Fleet
    lab: CloudLab
    settings: Settings

    @property
    def assignment(self) -> Assignment:
        return self.fleet.assignment

    def sleep(self, seconds: float) -> None:
        self.settings.CLOCK_OFFSET_SECONDS += seconds

    def step(self) -> Assignment:
        """Let a worker look, once it is time to."""
        due_at = self.assignment.due_at
        if due_at is not None:
            self.sleep(max(0.0, (due_at - clock.now()).total_seconds()))
            self.agents()
        # The adapter's own wait after a 429 is real time, which passes with ours.
        provider_access.digitalocean()._held_until = 0.0
        return self.fleet.step()

    def agents(self) -> None:
        """Let the agents of all machines that run do what they do every few seconds."""
        for gateway in self.fleet.gateways():
            if gateway.public_address and self.lab.hypervisor.is_up(int(gateway.server_id)):
                # Whatever is done to a machine that is up in the end, it boots.
                boots = sum(machine == int(gateway.server_id) for _, machine in self.lab.hypervisor.calls)
                self.fleet.boots[str(gateway.pk)] = boots
                try:
                    self.fleet.boot(gateway)
                except EgressError:
                    # It enrols again at its next attempt.
                    self.fleet.tokens.pop(str(gateway.pk), None)
        self.fleet.nodes_follow()

    def settle(self) -> Assignment:
        """Go on until nothing is left to do."""
        for number in range(ROUNDS):
            if self.step().due_at is None:
                return self.assignment
            self.lab.settle()
            # Later in strides: what takes minutes is only waited for.
            self.sleep(60 if number > QUICK_ROUNDS else 0)
            self.agents()
        raise AssertionError(f"it never ends: {self.assignment}, {[str(one) for one in self.fleet.gateways()]}")

    def enable(self) -> Assignment:
        egress_enable(app=self.fleet.app, actor=self.fleet.user)
        return self.settle()

    def retry(self) -> Assignment:
        egress_retry(app=self.fleet.app, actor=self.fleet.user)
        return self.settle()

    def disable(self) -> Assignment:
        egress_disable(app=self.fleet.app, actor=self.fleet.user)
        return self.settle()

    def maintain(self, kind: Maintenance) -> Assignment:
        gateway_maintain(gateway=self.fleet.gateways()[0], kind=kind, actor=self.fleet.user)
        return self.settle()

    def strike(self, fault: str, gateway: Gateway) -> None:
        """Let a machine lose its power, or hang: its agent is heard no more. What the lab does is shown in netns."""
        machine = int(gateway.server_id)
        if fault == "power_loss":
            self.lab.hypervisor.power[machine] = False
        else:
            self.lab.hypervisor.hung.add(machine)

    def requests(self, method: str, path: str) -> int:
        return sum(one.method == method and one.path.endswith(path) for one in self.lab.exchanges)

    def droplets(self) -> list[str]:
        """Return the ids of all Droplets after two sweeps for duplicates, late ones included."""
        self.lab.finish()
        for _ in range(2):
            tidy.tidy()
        return sorted(str(droplet.id) for droplet in self.lab.state.droplets())

    def check_active(self) -> None:
        """Require two gateways that serve, on all Droplets that there are."""
        assert (self.assignment.status, self.assignment.error_code) == (AssignmentStatus.ACTIVE, "")
        gateways = self.fleet.gateways()
        assert [gateway.provisioning_status for gateway in gateways] == [GatewayStatus.READY] * 2
        assert self.droplets() == sorted(gateway.server_id for gateway in gateways)
        told = [gateway["public_address"] for gateway in RouteChange.objects.get().route["gateways"]]
        assert told == [gateway.public_address for gateway in gateways]

    def check_error(self, code: str) -> None:
        """Require an error that says what it is, and leaves the customer both ways out."""
        view = egress_view(self.fleet.app)
        assert (self.assignment.status, view.error_code) == (AssignmentStatus.ERROR, code)
        assert "Retry" in view.error_message or "retry" in view.error_message
        assert (view.can_retry, view.can_disable, view.busy) == (True, True, False)

    def check_released(self) -> None:
        assert self.assignment.status == AssignmentStatus.RELEASED
        assert self.droplets() == []


@pytest.fixture
def plant(serve: Callable[..., CloudLab], settings: Settings) -> Iterator[Plant]:
    lab = serve(work_timeout_seconds=STUCK_SECONDS)
    settings.DIGITALOCEAN_TOKEN = TOKEN
    settings.DIGITALOCEAN_API_URL = lab.url
    settings.DIGITALOCEAN_CA_FILE = str(lab.certificates.ca_file)
    provider_access.digitalocean.cache_clear()
    fleet = make_fleet(None, region="nyc3", vpc_id=CloudLayout().vpc_uuid)  # type: ignore[arg-type]  # the lab's instead
    yield Plant(fleet, lab, settings)
    provider_access.digitalocean().close()
    provider_access.digitalocean.cache_clear()


Options = dict[str, Any]
#: (fault, its options, the error that it ends with or "")
CREATIONS: list[tuple[str, Options, str]] = [
    ("slow", {"delay_seconds": 0.2}, ""),
    ("rate_limited", {"retry_after_seconds": 7}, ""),
    ("rate_limited", {"retry_after_seconds": 0}, ""),
    ("failed_before", {"status": 503}, ""),
    ("failed_after", {"status": 500}, ""),
    ("dropped_before", {}, ""),
    ("dropped", {}, ""),
    ("late", {"delay_seconds": 0}, ""),
    ("late", {"delay_seconds": 3}, ""),
    ("no_capacity", {}, "provider_no_capacity"),
    ("token_refused", {}, "provider_access_refused"),
    ("slow_work", {"delay_seconds": 0.3}, ""),
    ("stuck", {}, "gateway_boot_timeout"),
    ("dead_boot", {}, "gateway_boot_timeout"),
    ("same_host", {}, ""),
]


#: The others are tried with --full.
FEW = {"failed_after", "dropped", "no_capacity", "stuck"}


def thorough(rows: Iterable[tuple[Any, ...]], few: Container[str] = FEW) -> list[Any]:
    """Return these parameters; in the normal run only those whose fault is one of a `few`."""
    return [pytest.param(*row, marks=() if row[0] in few else pytest.mark.full) for row in rows]


def label(value: Any) -> str:
    return "-".join(f"{number}" for number in value.values()) if isinstance(value, dict) else str(value)


def test_every_fault_is_tried() -> None:
    assert {fault for fault, _, _ in CREATIONS} == set(get_args(FaultKind))


@pytest.mark.parametrize(
    ("fault", "options", "error", "count"),
    thorough((*row, 1) for row in CREATIONS)
    + thorough(((*row, 2) for row in CREATIONS if row[0] in {"dropped", "no_capacity", "stuck"}), {"dropped"}),
    ids=label,
)
def test_a_fault_at_the_creation_ends_with_two_gateways_or_an_error_that_a_retry_leaves(
    plant: Plant, fault: str, options: Options, error: str, count: int
) -> None:
    plant.lab.faults.inject(fault, "create", count, **options)
    plant.enable()
    errors = 0
    while plant.assignment.status == AssignmentStatus.ERROR:
        plant.check_error(error)
        errors += 1
        assert errors <= count
        plant.retry()
    assert bool(errors) == bool(error)
    plant.check_active()


@pytest.mark.parametrize(
    ("fault", "options"),
    thorough(
        (
            row[:2]
            for row in CREATIONS
            if row[0] in {"failed_after", "late", "no_capacity", "slow_work", "stuck", "dead_boot"}
        ),
        {"failed_after"},
    ),
    ids=label,
)
def test_an_app_that_met_a_fault_can_be_disabled_at_once(plant: Plant, fault: str, options: Options) -> None:
    plant.lab.faults.inject(fault, "create", 2, **options)
    egress_enable(app=plant.fleet.app, actor=plant.fleet.user)
    plant.step()
    plant.disable()
    plant.check_released()


@pytest.mark.parametrize(("seconds", "least", "most"), [(7, 9, 11), (0, 62, 3_604)])
def test_a_429_is_waited_out_whether_or_not_it_says_how_long(plant: Plant, seconds: int, least: int, most: int) -> None:
    plant.lab.faults.inject("rate_limited", "create", retry_after_seconds=seconds)
    egress_enable(app=plant.fleet.app, actor=plant.fleet.user)
    begun = clock.now()
    assignment = plant.step()
    assert assignment.error_code == "provider_rate_limited"
    assert assignment.due_at is not None
    waits = assignment.due_at - begun
    assert timedelta(seconds=least - 1) <= waits
    assert assignment.due_at <= clock.now() + timedelta(seconds=most)
    plant.settle()
    plant.check_active()
    assert plant.requests("post", "/droplets") == 3


CARRIED_OUT = {"failed_after", "dropped"}
PASSING = ("rate_limited", "failed_before", "failed_after", "dropped_before", "dropped", "token_refused")


@pytest.mark.parametrize("fault", thorough((fault,) for fault in PASSING))
def test_faults_at_every_call_of_a_disable_end_with_nothing_left(plant: Plant, fault: str) -> None:
    plant.enable()
    plant.check_active()
    # A deletion that is carried out is asked for once; after that, whether the server is still there.
    times = {"list": 3, "delete": 2, "get": 2} if fault in CARRIED_OUT else {"list": 3, "delete": 3}
    for operation, count in times.items():
        plant.lab.faults.inject(fault, operation, count)
    plant.disable()
    assert plant.lab.faults.waiting() == []
    plant.check_released()


def test_a_droplet_that_the_cloud_never_deletes_is_shown_and_asked_for_slowly_while_its_customer_goes_on(
    plant: Plant,
) -> None:
    plant.enable()
    first = plant.assignment
    plant.lab.faults.inject("stuck", "delete", 1_000)
    egress_disable(app=plant.fleet.app, actor=plant.fleet.user)
    begun = clock.now()
    while Assignment.objects.get(pk=first.pk).status != AssignmentStatus.RELEASED:
        assert clock.now() - begun < timedelta(hours=1)
        plant.step()
    # The customer is let go, and has a new pair while the old one is still there.
    assert egress_view(plant.fleet.app).status == ""
    left = plant.droplets()
    assert len(left) == 2
    egress_enable(app=plant.fleet.app, actor=plant.fleet.user)
    for _ in range(ROUNDS):
        plant.step()
        plant.lab.settle()
    assert (plant.assignment.status, plant.assignment.error_code) == (AssignmentStatus.ACTIVE, "")
    assert len(plant.droplets()) == 4

    # Operators see it, with what to do; the cloud is asked a few times an hour.
    shown = Gateway.objects.filter(any_of(gateway_concerns()))
    assert sorted(gateway.server_id for gateway in shown) == left
    assert all(f"server {gateway.server_id} is still there" in stuck_deletion(gateway) for gateway in shown)
    before, then = plant.requests("delete", left[0]), clock.now()
    while clock.now() - then < timedelta(hours=1):
        old = Assignment.objects.get(pk=first.pk)
        assert old.due_at is not None
        plant.sleep((old.due_at - clock.now()).total_seconds())
        reconcile(first.pk)
    assert 5 <= plant.requests("delete", left[0]) - before <= 20

    plant.lab.faults.clear()
    plant.sleep(600)
    reconcile(first.pk)
    plant.lab.settle()
    plant.sleep(600)
    reconcile(first.pk)
    assert Assignment.objects.get(pk=first.pk).due_at is None
    assert not Gateway.objects.filter(any_of(gateway_concerns())).exists()
    plant.check_active()


#: (fault, its options, whether the maintenance is given up)
ACTIONS: list[tuple[str, Options, bool]] = [
    ("rate_limited", {}, False),
    ("failed_before", {}, False),
    ("failed_after", {}, False),
    ("dropped_before", {}, False),
    ("dropped", {}, False),
    ("late", {"delay_seconds": 0.2}, False),
    ("slow_work", {"delay_seconds": 0.3}, False),
    ("stuck", {}, False),
    ("token_refused", {}, True),
]
#: Only a rebuild boots with user data that may be spoilt.
REBUILDS = [("dead_boot", {}, True), *ACTIONS]
BY_KIND = [(*row, Maintenance.REBUILD) for row in REBUILDS]
BY_KIND += [(*row, kind) for kind in (Maintenance.REBOOT, Maintenance.POWER_CYCLE) for row in ACTIONS]


@pytest.mark.parametrize(("fault", "options", "given_up", "kind"), thorough(BY_KIND, {"failed_after"}), ids=label)
def test_a_fault_at_maintenance_leaves_the_pair_active_and_the_gateway_ready_or_to_be_mended_again(
    plant: Plant,
    fault: str,
    options: Options,
    given_up: bool,  # noqa: FBT001 - a parameter
    kind: Maintenance,
) -> None:
    plant.enable()
    before = [(gateway.pk, gateway.server_id, gateway.public_address) for gateway in plant.fleet.gateways()]
    plant.lab.faults.inject(fault, "action", **options)
    plant.maintain(kind)
    if given_up:
        assert plant.assignment.status == AssignmentStatus.ACTIVE
        assert [gateway.provisioning_status for gateway in plant.fleet.gateways()] == ["error", "ready"]
        plant.maintain(kind)
    plant.check_active()
    assert [(gateway.pk, gateway.server_id, gateway.public_address) for gateway in plant.fleet.gateways()] == before


@pytest.mark.parametrize("fault", thorough([(fault,) for fault in DROPLET_FAULTS], {"power_loss"}))
def test_a_machine_that_falls_silent_while_it_boots_is_replaced_on_retry(plant: Plant, fault: str) -> None:
    egress_enable(app=plant.fleet.app, actor=plant.fleet.user)
    plant.step()
    plant.lab.settle()
    plant.strike(fault, plant.fleet.gateways()[0])
    plant.settle()
    plant.check_error("gateway_boot_timeout")
    plant.retry()
    plant.check_active()


@pytest.mark.parametrize("fault", thorough([(fault,) for fault in DROPLET_FAULTS], {"hang"}))
def test_a_machine_that_falls_silent_in_use_is_seen_and_nothing_is_created_or_lost(plant: Plant, fault: str) -> None:
    plant.enable()
    lost, peer = plant.fleet.gateways()
    plant.strike(fault, lost)
    plant.sleep(plant.settings.EGRESS_SILENCE_SECONDS + 1)
    plant.fleet.boot(peer)
    health.watch_silence()
    assert [gateway.health for gateway in plant.fleet.gateways()] == ["unhealthy", "healthy"]
    plant.step()
    plant.check_active()
    plant.disable()
    plant.check_released()
