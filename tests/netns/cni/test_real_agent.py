"""`python -m egress.node` with nothing replaced: what it leaves in the kernel, and what its restarts change there."""

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from egress.netkit.ruleset import TABLE
from tests.unit.node.rig import wait_for

from .conftest import Runtime, ip

pytestmark = [pytest.mark.netns, pytest.mark.cni]


@pytest.fixture
def real(runtime: Runtime) -> Iterator[Runtime]:
    """A node with a leg in a VPC, its agent in sync."""
    pytest.importorskip("egress.node.dataplane")
    place = f"{runtime.prefix}-n"
    ip("-n", place, "link", "add", "eth1", "type", "veth", "peer", "name", "vpc")
    ip("-n", place, "address", "add", "10.110.0.21/20", "dev", "eth1")
    for name in ("eth1", "vpc"):
        ip("-n", place, "link", "set", name, "up")
    runtime.node.start(real=True)
    wait_for(lambda: "revision 1 of epoch-1 applied" in runtime.node.log, "the routes are applied")
    yield runtime
    runtime.node.stop()


def kernel(runtime: Runtime) -> str:
    """Return everything that the agent has in the kernel, without counters and expiry times."""
    place = ["nsenter", f"--net={runtime.node.netns}"]
    seen = []
    for family in ("inet", "bridge"):
        listed = subprocess.run(
            [*place, "nft", "-s", "-j", "list", "table", family, TABLE], check=True, capture_output=True
        )
        seen += [item for item in json.loads(listed.stdout)["nftables"] if "metainfo" not in item]
    rules = ip("-n", f"{runtime.prefix}-n", "rule", "show")
    routes = ip("-4", "-n", f"{runtime.prefix}-n", "route", "show", "table", "all")
    return json.dumps(seen, indent=1, sort_keys=True) + rules + routes


def test_the_rules_of_a_container_stand_when_add_returns(real: Runtime) -> None:
    before = kernel(real)
    result = real.add(real.container())
    address = result["ips"][0]["address"].split("/")[0]
    assert address not in before
    assert f'"{address}"' in kernel(real)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_neither_end_nor_start_changes_anything_in_the_kernel(real: Runtime, number: signal.Signals) -> None:
    real.add(real.container())
    real.add(real.container(), namespace="docs")
    # The first container made the bridge, whose address the agent's next look adds.
    real.node.stop(number)
    real.node.start(real=True)
    before = kernel(real)
    real.node.stop(number)
    assert kernel(real) == before
    real.node.start(real=True)
    assert kernel(real) == before


def test_del_takes_the_containers_rules_away(real: Runtime) -> None:
    name = real.container()
    result = real.add(name)
    real.run("DEL", name, previous=result)
    ip("netns", "delete", name)
    address = result["ips"][0]["address"].split("/")[0]
    wait_for(lambda: f'"{address}"' not in kernel(real), "nothing of it is left")
