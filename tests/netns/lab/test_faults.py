"""Faults injected through the control socket strike the lab's cloud API."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from egress.lab.client import LabError

from .conftest import Lab
from .test_droplets import Droplet, create

pytestmark = [pytest.mark.netns, pytest.mark.cni]


@pytest.fixture(autouse=True)
def _clean(lab: Lab, settings: Any) -> Iterator[None]:
    settings.LAB_SOCKET = str(lab.state / "lab.sock")
    yield
    lab.client.faults_clear()


def manage(*arguments: str) -> str:
    out = io.StringIO()
    call_command("lab", "fault", *arguments, stdout=out)
    return out.getvalue()


def test_a_fault_strikes_as_often_as_it_was_told(lab: Lab) -> None:
    lab.client.fault("rate_limited", operation="list", count=2)
    assert [lab.api("GET", path)[0] for path in ("account", "droplets", "droplets", "droplets")] == [200, 429, 429, 200]
    assert lab.client.faults() == []


def test_what_waits_can_be_seen_and_cleared(lab: Lab) -> None:
    lab.client.fault("failed_before", operation="get", count=3, status=503)
    assert lab.client.faults() == [{"kind": "failed_before", "operation": "get", "left": 3}]
    lab.client.faults_clear()
    assert lab.client.faults() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "explode"}, "kind must be one of slow, rate_limited, .*, same_host, not 'explode'"),
        ({"kind": "slow", "operation": "all"}, "operation must be one of create, .*, not 'all'"),
        ({"kind": "slow", "count": 0}, "count must be from 1 to 1000, not 0"),
        ({"kind": "failed_after", "status": 200}, "status must be from 500 to 599, not 200"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_there_is(lab: Lab, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LabError, match=message):
        lab.client.fault(**arguments)
    assert lab.client.faults() == []


def test_the_command_injects_lists_and_clears(lab: Lab) -> None:
    assert manage("list") == "no fault is waiting or stands\n"
    assert manage("no_capacity", "--operation", "create", "--count", "2") == ""
    assert manage("list").split() == ["no_capacity", "at", "create", "2", "more"]
    assert manage("clear") == ""
    assert lab.client.faults() == []
    with pytest.raises(CommandError, match="kind must be one of slow, rate_limited"):
        manage("explode")


@pytest.fixture
def droplet(lab: Lab) -> Iterator[Droplet]:
    made = create(lab, "struck")
    made.wait_booted()
    yield made
    lab.api("DELETE", f"droplets/{made.id}")


def reaches(lab: Lab, address: str) -> bool:
    """Say whether a machine of the VPC is alive: it refuses a connection, instead of saying nothing."""
    script = "import socket, sys; socket.create_connection((sys.argv[1], 9), 2)"
    return "ConnectionRefusedError" in lab.client.exec("node-1", ["python3", "-c", script, address]).stderr


@pytest.mark.parametrize(("kind", "state"), [("power_loss", "off"), ("hang", "on")])
def test_a_droplet_struck_falls_silent_and_a_power_cycle_heals_it(
    lab: Lab, droplet: Droplet, kind: str, state: str
) -> None:
    private = droplet.address("private")
    assert reaches(lab, private)
    with pytest.raises(CommandError, match=f"lab fault {kind} --droplet"):
        manage(kind)
    manage(kind, "--droplet", str(droplet.id))
    assert not reaches(lab, private)
    machine = next(one for one in lab.client.status()["droplets"] if one["id"] == droplet.id)
    assert (machine["state"], droplet.view()["status"]) == (state, "active")
    if kind == "hang":
        assert stopped(droplet)
    droplet.act("power_cycle")
    droplet.wait_booted()
    assert reaches(lab, private)


def stopped(droplet: Droplet) -> bool:
    """Say whether no process of the Droplet runs, but the one that looks."""
    script = "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || cut -d' ' -f3 $p/stat; done"
    return set(droplet.sh(script).split()) == {"T"}


def test_a_dead_boot_ends_well_but_its_user_data_is_never_read(lab: Lab) -> None:
    lab.client.fault("dead_boot", operation="create")
    droplet = create(lab, "dead")
    try:
        assert droplet.view()["status"] == "active"
        assert droplet.sh("ls /opt") == ""
        droplet.act("rebuild", image="ubuntu-24-04-x64")
        droplet.wait_booted()
        assert droplet.sh("cat /opt/secret") == "s3cret"
    finally:
        lab.api("DELETE", f"droplets/{droplet.id}")


def test_nobody_can_strike_a_droplet_that_is_not_there(lab: Lab) -> None:
    for kind in ("power_loss", "hang"):
        with pytest.raises(LabError, match="no Droplet 7"):
            lab.client.droplet_fault(kind, 7)
    with pytest.raises(LabError, match=r"kind must be one of power_loss, hang, .*beyond_lost, not 'rust'"):
        lab.client.droplet_fault("rust", 7)
