"""A node agent that is frozen: other apps' containers start, the enabled app's are told to try again.

shop-api, docs-site ── node (agent under SIGSTOP) ── observer 192.0.2.80
"""

from collections.abc import Iterator

import pytest

from egress.lab.client import LabError
from tests.e2e.system import NODE_NAMES, SHARED, System

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP, NEIGHBOUR = "shop-api", "docs-site"
#: A container's own first act.
FETCH = ("python3", "-c", "import urllib.request as u; print(u.urlopen('http://192.0.2.80/', timeout=10).read())")


@pytest.fixture(scope="module")
def addresses(system: System) -> Iterator[set[str]]:
    """shop-api's two addresses, while it has dedicated egress."""
    yield system.enable(APP)
    system.disable(APP)


@pytest.mark.parametrize("node", NODE_NAMES)
def test_only_the_enabled_apps_containers_wait_and_what_runs_goes_on(
    system: System, addresses: set[str], node: str
) -> None:
    system.lab.agent(node, "freeze")
    try:
        name = system.lab.start_container(NEIGHBOUR, node=node)
        assert system.seen(name, "tcp", 10) <= SHARED
        mark = system.lab.mark()
        with pytest.raises(LabError, match="code 11"):
            system.lab.start_container(APP, node=node, command=FETCH)
        assert system.seen(APP, "tcp", 10, node=node) <= addresses
        # The one that runs was seen, and nothing of the one that was refused.
        assert system.sources(mark) <= addresses
        system.lab.stop_container(name)
    finally:
        system.lab.agent(node, "continue")
    mark = system.lab.mark()
    started = system.start_container(APP, node, FETCH)
    assert system.seen(started, "tcp", 10) <= addresses
    assert system.seen(started, "udp", 10) <= addresses
    system.lab.stop_container(started)
    assert system.sources(mark) <= addresses
    assert system.seen(NEIGHBOUR, "tcp", 5, node=node) <= SHARED
