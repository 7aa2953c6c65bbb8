"""The data path outlives the control plane: its web servers, its agent API, its workers and its broker are gone.

(portal/web, Celery worker, scheduler, Redis and agent API are stopped)

shop-api ── node (agent, routes on disk) ── VPC ── gateways ── observer 192.0.2.80
"""

from collections.abc import Iterator

import pytest

from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP, NEIGHBOUR, OTHER = "shop-api", "docs-site", "mail-worker"
#: A container's own first act.
FETCH = ("python3", "-c", "import urllib.request as u; print(u.urlopen('http://192.0.2.80/', timeout=10).read())")


@pytest.fixture(scope="module")
def addresses(system: System) -> Iterator[set[str]]:
    """shop-api's two addresses, in a system without a control plane."""
    yield from _without_control_plane(system, system.enable(APP))
    system.disable(APP)


def _without_control_plane(system: System, addresses: set[str]) -> Iterator[set[str]]:
    system.stop_control_plane()
    try:
        yield addresses
    finally:
        system.start_control_plane()


def check_new_container(system: System, node: str, addresses: set[str]) -> None:
    """Start a container of the app, let it work, stop it: in all its life nothing comes from a shared address."""
    mark = system.lab.mark()
    name = system.start_container(APP, node, FETCH)
    wait_for("its first request arrives", lambda: system.lab.observed(mark).calls)
    assert system.seen(name, "tcp", 20) <= addresses
    system.lab.stop_container(name)
    sources = system.sources(mark)
    assert sources
    assert sources <= addresses


def test_running_containers_go_on(system: System, addresses: set[str]) -> None:
    system.check_pair(APP, "tcp", 50, addresses)
    assert system.seen_from_all_nodes(NEIGHBOUR, "tcp", 20) == SHARED


@pytest.mark.parametrize("node", NODE_NAMES)
def test_new_containers_start_and_never_use_a_shared_address(system: System, addresses: set[str], node: str) -> None:
    check_new_container(system, node, addresses)


@pytest.mark.parametrize("node", NODE_NAMES)
def test_new_containers_of_other_apps_start(system: System, addresses: set[str], node: str) -> None:
    assert addresses
    name = system.lab.start_container(NEIGHBOUR, node=node)
    assert system.seen(name, "tcp", 5) <= SHARED
    system.lab.stop_container(name)


@pytest.mark.parametrize("node", NODE_NAMES)
def test_an_agent_that_is_killed_comes_back_from_its_disk(system: System, addresses: set[str], node: str) -> None:
    system.lab.agent(node, "kill")
    assert system.seen(APP, "tcp", 5, node=node) <= addresses
    check_new_container(system, node, addresses)
    assert system.lab.agent(node, "status") == "running"
    name = system.start_container(NEIGHBOUR, node)
    assert system.seen(name, "tcp", 5) <= SHARED
    system.lab.stop_container(name)


def test_a_control_plane_that_comes_back_is_in_sync(system: System, addresses: set[str]) -> None:
    system.start_control_plane()
    assert system.wait_active(APP) == addresses
    others = system.enable(OTHER)
    assert not others & addresses
    system.check_pair(OTHER, "tcp", 20, others)
    system.check_pair(APP, "tcp", 20, addresses)
    system.disable(OTHER)
    assert system.seen_from_all_nodes(OTHER, "tcp", 5) == SHARED
