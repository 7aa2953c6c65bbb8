"""The demo where no namespace can be made: it says so in one line, and every page says that nothing is steered."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from egress.lab.client import LabClient, LabError
from portal.demo.seed import ADMIN, CUSTOMER, PASSWORD
from tests.e2e.test_demo import Api, Demo, check_nothing_is_left
from tests.e2e.visitor import Visitor
from tests.machine import ROOT, output, without_namespaces

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def locked_in() -> list[str]:
    prefix = without_namespaces()
    why = output(*prefix, sys.executable, "-c", "from portal.demo.needs import obstacle; print(obstacle())")
    assert why.startswith(("No namespaces can be made on this machine (unshare", "Not found on this machine: "))
    return prefix


def test_without_namespaces_it_says_so_and_works_on_records(locked_in: list[str], tmp_path: Path) -> None:
    demo = Demo(tmp_path, prefix=locked_in)
    try:
        api = Api(demo.wait_for_greeting())
        (line,) = demo.err().splitlines()
        assert line.startswith("Simulated, no packets are steered: No")
        lab = LabClient(demo.state / "lab.sock")
        addresses = api.enable()
        assert len(addresses) == 2
        # It is active because both nodes have the routes, and hold them as a real one would.
        assert [node["recorded"] for node in lab.status()["nodes"]] == [{"shop-api": sorted(addresses)}] * 2
        check_that_nobody_is_misled(demo, lab, api.url)
        # Billing is none of packets' business.
        assert re.search(r"Northwind: \$\d+\.\d\d for \w+ \d+, paid", demo.manage("lab", "pass-months", "1"))
        api.disable()
        assert [node["recorded"] for node in lab.status()["nodes"]] == [{}, {}]
        assert lab.status()["droplets"] == []
        assert demo.end(os.killpg, signal.SIGINT) == 0
        check_nothing_is_left(demo)
    finally:
        demo.process.kill()
        demo.process.wait(30)


def check_that_nobody_is_misled(demo: Demo, lab: LabClient, url: str) -> None:
    mark = "no packets are steered"
    customer = Visitor(url).log_in(CUSTOMER, PASSWORD)
    for path in ("/login/", "/", "/no-such-page/"):
        _, page = customer.get(path)
        assert mark in page, path
    _, page = Visitor(url).log_in(ADMIN, PASSWORD).get("/admin/")
    assert mark in page
    assert "Simulated: nothing moves" in demo.manage("lab", "status")
    with pytest.raises(LabError, match="there are no packets in it"):
        lab.ip("shop-api")
    done = subprocess.run(
        [sys.executable, "manage.py", "lab", "ip", "shop-api"],
        cwd=ROOT, env=demo.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "there are no packets in it" in done.stderr
