"""Packets seen outside: who leaves from where."""

import pytest
from dataplane_world import N1, OBSERVER, A, World, route

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_enabled_pods_leave_by_their_gateway_and_neighbours_by_the_node(pods: World, kind: str) -> None:
    pods.start(pods.wish(routes=(route(),)))
    for name in ("shop1", "shop2"):
        assert {pods[name]("ask", to=OBSERVER, port=80, kind=kind) for _ in range(20)} == {A}
    for name in ("blog1", "blog2"):
        assert {pods[name]("ask", to=OBSERVER, port=80, kind=kind) for _ in range(20)} == {N1}
    assert pods.sources() == {A, N1}
