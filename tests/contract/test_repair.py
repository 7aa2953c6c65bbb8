"""Machines that die in use are repaired by the real reconcile, adapter and pydo, over TLS, against the lab's cloud."""

import pytest

from egress.control import clock, provider_access
from egress.control.inventory import tidy
from egress.control.models import Event
from egress.control.repair import sweep

from .test_control_plane import Plant, plant, thorough  # noqa: F401 - a fixture among them

pytestmark = [pytest.mark.django_db]


def look_after(plant: Plant, seconds: int) -> None:  # noqa: F811 - the fixture's value
    """Let the control plane look after the pair for a while, as its scheduler does; nodes see which machines run."""
    for _ in range(0, seconds, 20):
        plant.sleep(20)
        gone = {one.server_id for one in plant.fleet.gateways() if one.server_id}
        plant.fleet.dead = {one for one in gone if not plant.lab.hypervisor.is_up(int(one))}
        plant.agents()
        sweep.watch()
        tidy.tidy()
        for _ in range(4):
            due_at = plant.assignment.due_at
            if due_at is None or due_at > clock.now():
                break
            provider_access.digitalocean()._held_until = 0.0
            plant.fleet.step()
            plant.lab.settle()


#: (what happens to a machine in use, the steps that repair takes, whether the address stays)
REPAIRS = [
    ("power_loss", ["power_cycle"], True),
    ("hang", ["power_cycle", "rebuild", "rebuild", "replace"], False),
    ("destroyed", ["replace"], False),
]


@pytest.mark.parametrize(("fault", "steps", "stays"), thorough(REPAIRS, {"power_loss", "destroyed"}))
def test_a_machine_that_dies_in_use_is_repaired_step_by_step_and_two_are_left(
    plant: Plant,  # noqa: F811 - the fixture
    fault: str,
    steps: list[str],
    stays: bool,  # noqa: FBT001 - a parameter
) -> None:
    plant.settings.EGRESS_BOOT_LIMIT_SECONDS = 60
    plant.enable()
    look_after(plant, 100)
    before = [gateway.public_address for gateway in plant.fleet.gateways()]
    struck = plant.fleet.gateways()[0]
    if fault == "destroyed":
        provider_access.digitalocean().delete(struck.server_id)
        plant.lab.settle()
    else:
        plant.strike(fault, struck)
    look_after(plant, 1_400 if fault == "hang" else 300)
    plant.check_active()
    begun = Event.objects.filter(subject=sweep.SUBJECT).order_by("pk")
    assert list(begun.values_list("new", flat=True)) == steps
    after = [gateway.public_address for gateway in plant.fleet.gateways()]
    assert (after[0] == before[0], after[1]) == (stays, before[1])
    told = list(Event.objects.filter(subject="gateway.replaced").values_list("old", "new"))
    assert told == ([] if stays else [(before[0], after[0])])
