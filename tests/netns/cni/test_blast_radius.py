"""A node agent that is stopped, killed or frozen, nothing replaced: whose containers start, and what comes after."""

import signal
from collections.abc import Callable

import pytest

from tests.unit.node.rig import wait_for

from .conftest import ChainError, Runtime, ip
from .test_real_agent import join_vpc, kernel

pytestmark = [pytest.mark.netns, pytest.mark.cni]

Trouble = tuple[Callable[[Runtime], object], Callable[[Runtime], object]]
#: What befalls the agent, and how it comes back.
TROUBLES: dict[str, Trouble] = {
    "stopped": (lambda real: real.node.stop(), lambda real: real.node.start(real=True)),
    "killed": (lambda real: real.node.stop(signal.SIGKILL), lambda real: real.node.start(real=True)),
    "frozen": (lambda real: real.node.send(signal.SIGSTOP), lambda real: real.node.send(signal.SIGCONT)),
}


@pytest.fixture
def real(runtime: Runtime) -> Runtime:
    """A node with a leg in a VPC, its agent in sync."""
    join_vpc(runtime)
    runtime.node.start(real=True)
    wait_for(lambda: "revision 1 of epoch-1 applied" in runtime.node.log, "the routes are applied")
    return runtime


def address_of(result: dict[str, list[dict[str, str]]]) -> str:
    return result["ips"][0]["address"].split("/")[0]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_command_for_other_apps_passes_and_the_enabled_one_waits_for_the_agent(
    real: Runtime, trouble: str
) -> None:
    befall, end = TROUBLES[trouble]
    before = real.container()
    old = real.add(before, namespace="docs")
    befall(real)
    # All that a runtime asks of a node meanwhile.
    name = real.container()
    result = real.add(name, namespace="docs")
    real.run("CHECK", name, namespace="docs", previous=result)
    real.run("DEL", before, namespace="docs", previous=old)
    plugin = {"cniVersion": "1.1.0", "name": "pods", "type": "sluicegate", "cni.dev/valid-attachments": []}
    for command in ("STATUS", "GC"):
        assert real.node.call(command, plugin, args="", container="", netns="").code == 0
    assert real.node.call("VERSION", {"cniVersion": "1.0.0"}).code == 0
    refused = real.container()
    with pytest.raises(ChainError) as caught:
        real.add(refused)
    assert caught.value.answer["code"] == 11
    real.run("DEL", refused)
    ip("netns", "delete", before)
    end(real)
    again = real.container()
    assert f'"{address_of(real.add(again))}"' in kernel(real), "its rules stand when ADD returns"
    # What came and went untold is known soon.
    seen = {"docs": 1, "shop": 1}
    wait_for(lambda: real.control_plane.reports[-1].containers == seen, "it knows who is here")


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_a_start_that_was_given_up_while_the_agent_was_frozen_is_nobodys_any_more(real: Runtime) -> None:
    """DEL and ADD again, as a runtime does: what the first try left in the agent's queue isn't acted on."""
    real.node.send(signal.SIGSTOP)
    name = real.container()
    with pytest.raises(ChainError):
        real.add(name, cache=False)
    real.run("DEL", name)
    real.node.send(signal.SIGCONT)
    address = address_of(real.add(real.container()))
    wait_for(lambda: real.control_plane.reports[-1].containers == {"shop": 1}, "only the last is there")
    assert f'"{address}"' in kernel(real)
    assert f"CNI ADD of {name} came too late" in real.node.log
