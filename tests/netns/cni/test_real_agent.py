"""`python -m egress.node` with nothing replaced: what it leaves in the kernel, and what its restarts change there."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress.netkit.ruleset import TABLE
from tests.unit.node.rig import wait_for

from .conftest import Runtime, ip

pytestmark = [pytest.mark.netns, pytest.mark.cni]


@pytest.fixture
def real(runtime: Runtime) -> Iterator[Runtime]:
    """A node with a leg in a VPC, its agent in sync."""
    join_vpc(runtime)
    runtime.node.start(real=True)
    wait_for(lambda: "revision 1 of epoch-1 applied" in runtime.node.log, "the routes are applied")
    yield runtime
    runtime.node.stop()


def join_vpc(runtime: Runtime) -> None:
    place = f"{runtime.prefix}-n"
    ip("-n", place, "link", "add", "eth1", "type", "veth", "peer", "name", "vpc")
    ip("-n", place, "address", "add", "10.110.0.21/20", "dev", "eth1")
    for name in ("eth1", "vpc"):
        ip("-n", place, "link", "set", name, "up")


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


def test_the_services_capabilities_are_enough(runtime: Runtime) -> None:
    unit = (Path(__file__).parents[3] / "deploy/sluicegate-node.service").read_text()
    (granted,) = re.findall(r"^CapabilityBoundingSet=(.+)$", unit, re.MULTILINE)
    names = [name.removeprefix("CAP_").lower() for name in granted.split()]
    join_vpc(runtime)
    # The canary too, which runs the network's plugins, makes do with them.
    ip("-n", f"{runtime.prefix}-n", "route", "add", "default", "via", "10.110.0.1")
    main = runtime.conflist["plugins"][0]
    main["ipam"] = {**main["ipam"], "routes": [{"dst": "0.0.0.0/0"}]}
    runtime.install()
    runtime.node.canary = True
    runtime.node.under = ["setpriv", "--no-new-privs", f"--bounding-set=-all,{','.join(f'+{name}' for name in names)}"]
    runtime.node.start(real=True)
    wait_for(lambda: "revision 1 of epoch-1 applied" in runtime.node.log, "the routes are applied")
    wait_for(lambda: "the containers' network is supported" in runtime.node.log, "the canary is seen")
    name = runtime.container()
    result = runtime.add(name)
    runtime.run("CHECK", name, previous=result)
    runtime.node.stop()
    # What it finds again on its own it finds by looking into the container's namespace.
    runtime.node.start(real=True)
    runtime.run("CHECK", name, previous=result)
    assert " WARNING " not in runtime.node.log.partition("applied")[2]
    assert " ERROR " not in runtime.node.log


def test_uninstall_leaves_nothing_in_the_kernel_and_waits_for_the_agents_end(real: Runtime) -> None:
    real.add(real.container())
    command = ["nsenter", f"--net={real.node.netns}", sys.executable, "-m", "egress.node", "--uninstall"]
    command += ["--config", str(real.node.directory / "config.json")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (refused.returncode, "another node agent runs on it" in refused.stderr) == (1, True)
    real.node.stop()
    subprocess.run(command, check=True, timeout=60)
    tables = subprocess.run(
        ["nsenter", f"--net={real.node.netns}", "nft", "list", "tables"], check=True, capture_output=True, text=True
    )
    assert TABLE not in tables.stdout
    assert "sluicegate" not in ip("-n", f"{real.prefix}-n", "link", "show")
    assert len(ip("-n", f"{real.prefix}-n", "rule", "show").splitlines()) == 3
    real.node.start(real=True)
