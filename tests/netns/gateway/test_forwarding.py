"""Whom a gateway forwards for, and where to. All is asserted with packets seen outside."""

import socket
from subprocess import Popen

import pytest

from .plane import ControlPlane
from .world import NODE, OBSERVER, PRIVATE, PUBLIC, REFUSED, ROUTER, STRANGER, World, eventually, inside, run

pytestmark = pytest.mark.netns


def test_a_clients_packets_leave_under_the_gateways_public_address(world: World, serving: Popen[bytes]) -> None:
    assert {world.tcp_source(world.node) for _ in range(20)} == {PUBLIC}
    assert {world.udp_source(world.node) for _ in range(20)} == {PUBLIC}
    assert world.seen() == {PUBLIC}


def test_nobody_else_is_forwarded_for(world: World, serving: Popen[bytes]) -> None:
    assert world.blocked(world.stranger)
    assert world.udp_source(world.stranger) is None
    assert world.seen() == set()


def test_a_client_that_spoofs_another_source_is_not_forwarded(world: World, serving: Popen[bytes]) -> None:
    run("ip", "-n", world.node, "address", "add", "198.51.100.9/32", "dev", "lo")
    with world.udp(world.node) as sender:
        sender.bind(("198.51.100.9", 0))
        sender.sendto(b"who", (OBSERVER, 7))
        with pytest.raises(TimeoutError):
            sender.recv(100)
    assert world.seen() == set()


@pytest.mark.parametrize("address", REFUSED)
def test_private_ranges_and_the_metadata_service_are_refused(world: World, serving: Popen[bytes], address: str) -> None:
    assert world.blocked(world.node, to=address)
    assert world.seen() == set()


def test_nothing_comes_in_from_outside(world: World, serving: Popen[bytes]) -> None:
    for target in (NODE, PRIVATE, PUBLIC):
        with inside(world.internet, socket.socket) as caller:
            caller.settimeout(0.5)
            with pytest.raises(OSError):
                caller.connect((target, 22))


def test_a_removed_client_is_cut_off_in_the_middle_of_a_connection(
    world: World, plane: ControlPlane, serving: Popen[bytes]
) -> None:
    with world.tcp(world.node) as connection:
        assert connection.recv(100) == PUBLIC.encode()
        revision = plane.set_clients(STRANGER)
        eventually(lambda: plane.acknowledged == revision)
        world.seen()
        connection.settimeout(1)
        connection.sendall(b"still there?")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        assert world.blocked(world.node)
        assert world.seen() == set()
    assert world.tcp_source(world.stranger) == PUBLIC


def test_adding_a_client_leaves_connections_alone(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    with world.tcp(world.node) as connection:
        connection.recv(100)
        revision = plane.set_clients(NODE, STRANGER)
        eventually(lambda: plane.acknowledged == revision)
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
    assert world.tcp_source(world.stranger) == PUBLIC


def test_a_connection_begun_before_a_reboot_goes_on(world: World, serving: Popen[bytes]) -> None:
    """The gateway's memory of connections is gone; the next packet from inside brings it back, same port."""
    with world.tcp(world.node) as connection:
        connection.recv(100)
        run("ip", "netns", "exec", world.gateway, "conntrack", "-F")
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
    assert world.seen() == {PUBLIC}


def test_ipv6_is_not_forwarded(world: World, serving: Popen[bytes]) -> None:
    forwarding = run("ip", "netns", "exec", world.gateway, "cat", "/proc/sys/net/ipv6/conf/all/forwarding")
    assert forwarding.strip() == "0"


def test_the_gateway_itself_reaches_the_internet(world: World, serving: Popen[bytes]) -> None:
    assert world.tcp_source(world.gateway, to=ROUTER) == PUBLIC
