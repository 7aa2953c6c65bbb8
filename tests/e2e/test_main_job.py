"""The main job: an app's packets leave from its own two addresses, and nobody else's do.

    shop-api ─┐ node fra1-w1 (ptp) ──┬─ VPC ── gateway A ── 203.0.113.x ─┐
    docs-site ┘        └ 198.51.100.21 ──────────────────────────────────┼── observer 192.0.2.80
    shop-api ─┐ node fra1-w2 (bridge)┴─ VPC ── gateway B ── 203.0.113.y ─┘
    docs-site ┘        └ 198.51.100.22 ──────────────────────────────────┘

What counts is what the observer saw.
"""

from collections.abc import Iterator

import pytest

from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP, NEIGHBOUR = "shop-api", "docs-site"


@pytest.fixture(scope="module")
def addresses(system: System) -> Iterator[set[str]]:
    """shop-api's two addresses, while it has dedicated egress."""
    yield system.enable(APP)
    system.disable(APP)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_without_dedicated_egress_apps_share_the_nodes_addresses(system: System, kind: str) -> None:
    for app in (APP, NEIGHBOUR):
        assert system.seen_from_all_nodes(app, kind, 5) == SHARED


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_200_requests_from_every_container_arrive_from_the_apps_two_addresses(
    system: System, addresses: set[str], kind: str
) -> None:
    assert not addresses & SHARED
    system.check_pair(APP, kind, 200, addresses)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("app", [NEIGHBOUR, "mail-worker"])
def test_200_requests_of_another_app_arrive_from_the_shared_addresses(
    system: System, addresses: set[str], app: str, kind: str
) -> None:
    assert addresses
    assert system.seen_from_all_nodes(app, kind, 200) == SHARED


@pytest.mark.parametrize("node", NODE_NAMES)
def test_a_new_container_never_sends_a_packet_from_a_shared_address(
    system: System, addresses: set[str], node: str
) -> None:
    """Its own command begins as soon as it is wired; the capture outside covers its whole life."""
    mark = system.lab.mark()
    fetch = "import urllib.request as u; print(u.urlopen('http://192.0.2.80/', timeout=10).read().decode())"
    name = system.lab.start_container(APP, node=node, command=["python3", "-c", fetch])
    wait_for("its first request arrives", lambda: system.lab.observed(mark).calls)
    system.seen(name, "udp", 5)
    system.lab.stop_container(name)
    assert system.sources(mark)
    assert system.sources(mark) <= addresses


@pytest.mark.parametrize("node", NODE_NAMES)
def test_an_agent_that_is_killed_and_comes_back_leaks_nothing(system: System, addresses: set[str], node: str) -> None:
    mark = system.lab.mark()
    name = system.lab.start_container(APP, node=node)
    system.lab.agent(node, "kill")
    assert system.seen(name, "tcp", 20) <= addresses
    wait_for("the agent runs again", lambda: system.lab.agent(node, "status") == "running")
    assert system.seen(name, "udp", 20) <= addresses
    system.lab.stop_container(name)
    assert system.sources(mark) <= addresses


@pytest.mark.parametrize("node", NODE_NAMES)
def test_an_agent_that_restarts_touches_no_connection(system: System, addresses: set[str], node: str) -> None:
    name = system.lab.start_container(APP, node=node)
    mark = system.lab.mark()
    with system.holding(name, seconds=8) as held:
        system.lab.agent(node, "stop")
        system.lab.agent(node, "start")
        wait_for("the agent runs again", lambda: system.lab.agent(node, "status") == "running")
    assert held.address in addresses
    system.lab.stop_container(name)
    assert system.sources(mark) <= addresses
