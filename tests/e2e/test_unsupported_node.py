"""A node whose network forwards past netfilter: it is named, and no app with containers there is shown as active.

shop-api, docs-site ── fra1-w1 ── netfilter ── gateways ── observer 192.0.2.80
docs-site ──────────── fra1-w2 ── (past netfilter) ─────── observer 192.0.2.80
"""

import contextlib
from collections.abc import Iterator

import pytest

from egress.lab.client import LabError
from tests.e2e.system import SHARED, System, wait_for
from tests.e2e.visitor import Visitor

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

GOOD, BAD = "fra1-w1", "fra1-w2"
THERE, ELSEWHERE = "docs-site", "shop-api"
DATAGRAM = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.80', 7))"


def admin(system: System) -> Visitor:
    return Visitor(system.url).log_in(system.seed["admin"], system.seed["password"])


def nodes_that_are_unsupported(system: System, visitor: Visitor) -> set[str]:
    _, listed = visitor.get("/admin/control/node/?attention=unsupported")
    return {name for name in (GOOD, BAD) if f">{name}<" in listed.replace("\n", "")}


@pytest.fixture(scope="module")
def bypassed(system: System) -> Iterator[str]:
    """BAD on an unsupported network, with a container of THERE that came since, and none of ELSEWHERE."""
    visitor = admin(system)
    stopped = system.lab.stop_container(ELSEWHERE, node=BAD)
    assert len(stopped) == 1
    system.lab.bypass(BAD, on=True)
    wait_for("the node is told unsupported", lambda: nodes_that_are_unsupported(system, visitor) == {BAD})
    name = system.start_container(THERE, BAD)
    try:
        yield name
    finally:
        with contextlib.suppress(LabError):
            system.lab.stop_container(name)
        system.lab.bypass(BAD, on=False)
        wait_for("it is supported again", lambda: nodes_that_are_unsupported(system, visitor) == set())
        system.start_container(ELSEWHERE, BAD)
        for app in (THERE, ELSEWHERE):
            system.disable(app)


def test_operators_see_the_node_and_the_reason(system: System, bypassed: str) -> None:
    assert bypassed
    _, listed = admin(system).get("/admin/control/node/?attention=unsupported")
    assert "containers' packets to the internet pass by this node's netfilter" in listed


def test_an_app_without_containers_there_becomes_active_and_starts_none_there(system: System, bypassed: str) -> None:
    assert bypassed
    addresses = system.enable(ELSEWHERE)
    assert system.seen(ELSEWHERE, "tcp", 10, node=GOOD) <= addresses
    mark = system.lab.mark()
    with pytest.raises(LabError, match="network"):
        system.lab.start_container(ELSEWHERE, node=BAD, command=("python3", "-c", DATAGRAM))
    assert system.sources(mark) <= addresses


def test_an_app_with_containers_there_is_not_active_and_its_page_says_why(system: System, bypassed: str) -> None:
    status, _ = system.switch(THERE, "DEDICATED_IP")
    assert status in {200, 202}
    visitor = Visitor(system.url).log_in(system.seed["customer"], system.seed["password"])
    path = f"/apps/{system.seed['apps'][THERE]}/"
    wait_for("the page says so", lambda: "Not on all nodes" in visitor.get(path)[1])
    assert f"containers on node {BAD} use shared addresses" in visitor.get(path)[1]
    wait_for("the gateways are told to the nodes", lambda: system.egress(THERE)["state"] == "distributing")
    # What the page says is so: that container's packets know no rules.
    mark = system.lab.mark()
    system.lab.exec(bypassed, ["python3", "-c", DATAGRAM])
    wait_for("its packet is outside", lambda: system.sources(mark))
    ours = {each["ip"] for each in system.egress(THERE)["dedicated_ips"]}
    assert not system.sources(mark) & ours
    assert system.egress(THERE)["state"] == "distributing"


def test_once_the_network_is_mended_and_its_container_gone_the_app_is_active(system: System, bypassed: str) -> None:
    system.lab.stop_container(bypassed)
    system.lab.bypass(BAD, on=False)
    visitor = admin(system)
    wait_for("it is supported again", lambda: nodes_that_are_unsupported(system, visitor) == set())
    addresses = system.wait_active(THERE)
    name = system.start_container(THERE, BAD)
    assert system.seen(name, "tcp", 10) <= addresses
    system.lab.stop_container(name)
    assert system.seen("mail-worker", "tcp", 5) <= SHARED
