"""A node without state in a cluster that has routes: new, set up anew, or with its disk lost.

    (its agent is stopped, its state folder is empty)

    shop-api ── node ── ? ── observer 192.0.2.80

Nobody there knows who has dedicated egress, so containers wait until somebody does.
"""

from collections.abc import Iterator

import pytest

from egress.lab.client import LabError
from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP, NEIGHBOUR = "shop-api", "docs-site"
#: A container's own first act.
FETCH = ("python3", "-c", "import urllib.request as u; print(u.urlopen('http://192.0.2.80/', timeout=10).read())")


@pytest.fixture(scope="module")
def addresses(system: System) -> Iterator[set[str]]:
    """shop-api's two addresses, while it has dedicated egress."""
    yield system.enable(APP)
    system.disable(APP)


@pytest.fixture(params=NODE_NAMES)
def blank(request: pytest.FixtureRequest, system: System, addresses: set[str]) -> Iterator[str]:
    """A node whose agent is stopped and has lost all that it had on disk."""
    assert addresses
    node = str(request.param)
    system.lab.agent(node, "stop")
    for file in system.node_state(node).iterdir():
        file.unlink()
    try:
        yield node
    finally:
        system.lab.agent(node, "start")
        wait_for("the node is in sync", (system.node_state(node) / "namespaces").exists)


def is_told_to_try_again(system: System, app: str, node: str) -> None:
    with pytest.raises(LabError, match="code 11"):
        system.lab.start_container(app, node=node, command=FETCH)


def starts_and_uses(system: System, app: str, node: str, addresses: set[str]) -> None:
    mark = system.lab.mark()
    name = system.start_container(app, node, FETCH)
    wait_for("its first request arrives", lambda: system.lab.observed(mark).calls)
    assert system.seen(name, "tcp", 20) <= addresses
    assert system.seen(name, "udp", 20) <= addresses
    system.lab.stop_container(name)
    assert system.sources(mark) <= addresses


def test_without_its_agent_no_container_starts_there(system: System, blank: str) -> None:
    mark = system.lab.mark()
    for app in (APP, NEIGHBOUR):
        is_told_to_try_again(system, app, blank)
    assert system.sources(mark) == set()


def test_an_agent_that_has_no_routes_yet_lets_no_container_start(
    system: System, addresses: set[str], blank: str
) -> None:
    system.stack.stop_part("agents")
    try:
        mark = system.lab.mark()
        system.lab.agent(blank, "start")
        for app in (APP, NEIGHBOUR):
            is_told_to_try_again(system, app, blank)
        assert system.sources(mark) == set()
    finally:
        system.stack.start_part("agents")
    starts_and_uses(system, APP, blank, addresses)


def test_it_joins_anew_and_its_containers_use_the_apps_addresses(
    system: System, addresses: set[str], blank: str
) -> None:
    system.lab.agent(blank, "start")
    starts_and_uses(system, APP, blank, addresses)
    starts_and_uses(system, NEIGHBOUR, blank, SHARED)
    assert system.seen(APP, "tcp", 20, node=blank) <= addresses
    assert system.wait_active(APP) == addresses
