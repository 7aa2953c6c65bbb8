"""The lab without packets, without its agents: theirs is shown end to end."""

import asyncio
import json
from typing import Any

import pytest

from egress.gateway.userdata import UserData, gateway_user_data
from egress.lab.cloud.faults import Faults
from egress.lab.commands import Commands
from egress.lab.config import DEFAULT_NODES
from egress.lab.errors import LabError
from egress.lab.hypervisor import HypervisorError, Machine
from egress.lab.recording.agents import RecordedGateway, RecordedNode
from egress.lab.recording.commands import RecordedCommands
from egress.lab.recording.droplets import RecordedDroplets, gateway_config

USER_DATA = gateway_user_data(
    UserData(
        gateway_id="gw-1",
        enrolment_secret="sge_0123456789abcdef",
        control_plane_url="https://198.51.100.80",
        ca_pem="",
        vpc="10.110.0.0/20",
    )
)


def machine(user_data: str = "", number: int = 7) -> Machine:
    return Machine(
        id=number,
        name=f"gw-{number}",
        user_data=user_data,
        image="ubuntu",
        public_address="203.0.113.10",
        private_address="10.110.0.100",
    )


def test_a_gateway_is_known_by_its_user_data() -> None:
    config = gateway_config(USER_DATA)
    assert config is not None
    assert (config.gateway_id, config.enrolment_secret) == ("gw-1", "sge_0123456789abcdef")


@pytest.mark.parametrize("other", ["", "#!/bin/sh\n", "#cloud-config\n{}", '#cloud-config\n{"write_files": 1}', "[]"])
def test_other_user_data_makes_no_gateway(other: str) -> None:
    assert gateway_config(other) is None


@pytest.fixture
def droplets(monkeypatch: pytest.MonkeyPatch) -> RecordedDroplets:
    """Droplets whose agents never speak."""
    monkeypatch.setattr(RecordedGateway, "start", lambda _: None)
    return RecordedDroplets("/nowhere")


def agent_of(droplets: RecordedDroplets) -> RecordedGateway:
    agent = droplets._droplets[7].agent
    assert agent is not None
    return agent


def test_a_power_cycle_keeps_the_credential_and_a_rebuild_does_not(droplets: RecordedDroplets) -> None:
    asyncio.run(droplets.boot(machine(USER_DATA)))
    first = agent_of(droplets)
    first.token = "enrolled"
    asyncio.run(droplets.power_cycle(machine(USER_DATA)))
    second = agent_of(droplets)
    assert second.token == "enrolled"
    assert second.boot_id != first.boot_id
    asyncio.run(droplets.rebuild(machine(USER_DATA)))
    assert agent_of(droplets).token == ""


def test_what_is_off_does_not_run(droplets: RecordedDroplets) -> None:
    asyncio.run(droplets.boot(machine()))
    assert droplets.runs("10.110.0.100")
    asyncio.run(droplets.power_off(7))
    assert not droplets.runs("10.110.0.100")
    asyncio.run(droplets.power_on(machine()))
    assert droplets.runs("10.110.0.100")
    asyncio.run(droplets.destroy(7))
    assert droplets.all() == []


@pytest.mark.parametrize("verb", ["power_on", "power_cycle", "reboot", "rebuild"])
def test_an_unknown_droplet_is_an_error(droplets: RecordedDroplets, verb: str) -> None:
    with pytest.raises(HypervisorError, match="there is no Droplet 7"):
        asyncio.run(getattr(droplets, verb)(machine()))


@pytest.fixture
def commands(droplets: RecordedDroplets) -> RecordedCommands:
    nodes = [RecordedNode(node, "/nowhere", "/nowhere", droplets.runs) for node in DEFAULT_NODES]
    return RecordedCommands("No namespaces.", nodes, droplets, Faults(), asyncio.Event())


def call(commands: RecordedCommands, name: str, /, **arguments: object) -> Any:
    async def send(_: object) -> None:
        raise AssertionError("nothing to send")

    return asyncio.run(commands.table()[name](arguments, send))  # type: ignore[arg-type]


def test_containers_are_names_that_nodes_report(commands: RecordedCommands) -> None:
    for node in ("node-1", "node-1", "node-2"):
        call(commands, "start-container", namespace="shop", node=node)
    assert commands._nodes["node-1"]._containers == {"shop": 2}
    assert call(commands, "stop-container", name="shop", node="node-1") == ["shop-1", "shop-2"]
    assert commands._nodes["node-1"]._containers == {}
    assert [one["name"] for one in call(commands, "status")["containers"]] == ["shop-3"]
    with pytest.raises(LabError, match="no container of 'blog' runs; running: shop-3"):
        call(commands, "stop-container", name="blog")
    with pytest.raises(LabError, match="there is no node 'node-3'"):
        call(commands, "start-container", namespace="shop", node="node-3")


@pytest.mark.parametrize("name", ["exec", "observed", "mark", "expose", "agent", "console", "strike"])
def test_who_asks_for_packets_is_told_that_there_are_none(commands: RecordedCommands, name: str) -> None:
    with pytest.raises(LabError, match=r"no packets in it to look at\. No namespaces\."):
        call(commands, name)


def test_nothing_stands_where_nothing_can_be_struck(commands: RecordedCommands) -> None:
    assert call(commands, "struck") == call(commands, "heal", kind="hang") == []


def test_every_command_of_the_other_lab_is_known_here(commands: RecordedCommands) -> None:
    # Its rooms are asked for nothing here.
    other = Commands(*[None] * 7)  # type: ignore[arg-type]
    assert commands.table().keys() == other.table().keys()


def test_status_says_that_it_is_simulated(commands: RecordedCommands) -> None:
    assert call(commands, "status")["lab"]["simulated"] == "No namespaces."
    json.dumps(call(commands, "status"))
