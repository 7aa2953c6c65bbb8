"""A gateway's life: boot, crash, restart, rebuild, a control plane that is away, and meddlers."""

import shutil
import signal
import stat
import threading
import time
from pathlib import Path
from subprocess import Popen
from typing import Self

import pytest

from .conftest import Gateway, Start
from .plane import SECRET, ControlPlane
from .world import NODE, OBSERVER, PUBLIC, STRANGER, World, eventually, run

pytestmark = pytest.mark.netns


class Stream:
    """A sender of datagrams from the node, every millisecond, until left: each of them would show a gap."""

    def __init__(self, world: World) -> None:
        self._socket = world.udp(world.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._socket.close()

    def _send(self) -> None:
        while not self._stop.wait(0.001):
            try:
                self._socket.sendto(b"who", (OBSERVER, 7))
            except OSError:
                continue  # an ICMP refusal from before: the next datagram goes out again


def forwarding(world: World) -> bool:
    return run("ip", "netns", "exec", world.gateway, "cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"


def nft(world: World, *command: str) -> str:
    return run("ip", "netns", "exec", world.gateway, "nft", *command)


def test_nothing_is_forwarded_before_enrolment(
    world: World, plane: ControlPlane, gateway: Gateway, start: Start
) -> None:
    plane.window_open = False
    with Stream(world):
        start()
        eventually(lambda: plane.refused_enrolments >= 3)
        assert not forwarding(world)
        # Even with forwarding switched on by somebody else.
        run("ip", "netns", "exec", world.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        assert world.blocked(world.node)
    assert world.seen() == set()
    assert "window_closed" in gateway.log_text()
    assert "rebuild this gateway" in gateway.log_text()
    plane.window_open = True
    eventually(lambda: plane.acknowledged == 1)
    assert world.tcp_source(world.node) == PUBLIC


def test_the_ruleset_stands_before_forwarding_is_switched_on(world: World, plane: ControlPlane, start: Start) -> None:
    with Stream(world):
        start()
        eventually(lambda: PUBLIC in world.seen() or forwarding(world))
        eventually(lambda: plane.acknowledged == 1)
        eventually(lambda: world.udp_source(world.node) == PUBLIC)
    assert world.seen() <= {PUBLIC}


def test_a_kill_and_a_restart_leave_traffic_untouched(
    world: World, plane: ControlPlane, serving: Popen[bytes], start: Start
) -> None:
    with world.tcp(world.node) as connection, Stream(world):
        connection.recv(100)
        serving.send_signal(signal.SIGKILL)
        serving.wait(10)
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"
        assert world.tcp_source(world.node) == PUBLIC
        reports = len(plane.reports)
        start()
        eventually(lambda: len(plane.reports) > reports and plane.reports[-1].forwarding)
        connection.sendall(b"two")
        assert connection.recv(100) == b"two"
    assert plane.enrolments == 1
    assert world.seen() == {PUBLIC}


def test_sigterm_leaves_the_kernel_as_it_is(world: World, serving: Popen[bytes]) -> None:
    before = nft(world, "-s", "list", "table", "inet", "sluicegate")
    serving.terminate()
    assert serving.wait(30) == 0
    assert nft(world, "-s", "list", "table", "inet", "sluicegate") == before
    assert world.tcp_source(world.node) == PUBLIC


def test_it_goes_on_without_the_control_plane_even_after_a_restart(
    world: World, plane: ControlPlane, serving: Popen[bytes], start: Start
) -> None:
    plane.stop()
    assert world.tcp_source(world.node) == PUBLIC
    serving.kill()
    serving.wait(10)
    # As after a reboot: nothing of ours is in the kernel.
    nft(world, "flush", "ruleset")
    run("ip", "netns", "exec", world.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=0")
    world.seen()
    start()
    eventually(lambda: not world.blocked(world.node))
    assert world.tcp_source(world.node) == PUBLIC
    assert world.blocked(world.stranger)
    assert world.seen() == {PUBLIC}
    plane.start()
    plane.set_clients(NODE, STRANGER)
    eventually(lambda: not world.blocked(world.stranger), seconds=60)
    assert plane.enrolments == 1


def test_a_rebuild_enrols_again(
    world: World, plane: ControlPlane, gateway: Gateway, serving: Popen[bytes], start: Start
) -> None:
    serving.kill()
    serving.wait(10)
    shutil.rmtree(gateway.state)
    start()
    eventually(lambda: plane.enrolments == 2)
    eventually(lambda: plane.acknowledged == plane.sync.revision)
    assert world.tcp_source(world.node) == PUBLIC


def test_a_refused_credential_is_renewed_by_enrolling(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    plane.token = "another-token-altogether"
    revision = plane.set_clients(STRANGER)
    eventually(lambda: plane.acknowledged == revision)
    assert plane.enrolments == 2
    assert world.blocked(world.node)


def test_an_offered_credential_is_kept_and_used_also_after_a_kill(
    world: World, plane: ControlPlane, gateway: Gateway, serving: Popen[bytes], start: Start
) -> None:
    old, new = plane.token, "credential-offered-to-it"
    plane.offer = new
    eventually(lambda: new in (gateway.state / "credential.json").read_text())
    plane.offer, plane.token = "", new
    serving.kill()
    serving.wait(10)
    start()
    revision = plane.set_clients(NODE, STRANGER)
    eventually(lambda: plane.acknowledged == revision)
    assert plane.enrolments == 1
    kept = (gateway.state / "clients.json").read_text()
    assert not any(token in kept for token in (old, new))


def test_damaged_state_is_as_good_as_none(
    world: World, plane: ControlPlane, gateway: Gateway, serving: Popen[bytes], start: Start
) -> None:
    serving.kill()
    serving.wait(10)
    for file in gateway.state.iterdir():
        file.write_bytes(b'{"token": 7')
    start()
    eventually(lambda: plane.enrolments == 2)
    eventually(lambda: plane.acknowledged == plane.sync.revision)
    assert world.tcp_source(world.node) == PUBLIC


def test_after_a_flush_nothing_leaves_untranslated_and_the_ruleset_comes_back(
    world: World, serving: Popen[bytes]
) -> None:
    with world.tcp(world.node) as connection, Stream(world):
        connection.recv(100)
        for _ in range(5):
            nft(world, "flush", "ruleset")
            eventually(lambda: "sluicegate" in nft(world, "list", "tables"))
        eventually(lambda: world.udp_source(world.node) == PUBLIC)
    assert world.seen() == {PUBLIC}
    assert world.tcp_source(world.node) == PUBLIC


def test_a_flush_with_no_agent_to_repair_it_stops_traffic_and_leaks_nothing(
    world: World, serving: Popen[bytes], start: Start
) -> None:
    with world.tcp(world.node) as connection, Stream(world):
        connection.recv(100)
        serving.kill()
        serving.wait(10)
        nft(world, "flush", "ruleset")
        connection.sendall(b"lost until the agent is back")
        assert world.blocked(world.node)
        time.sleep(0.3)
        start()
        eventually(lambda: not world.blocked(world.node))
    assert world.seen() == {PUBLIC}


@pytest.mark.parametrize(
    "meddling",
    [
        ("nft", "flush", "chain", "inet", "sluicegate", "translate"),
        ("nft", "delete", "chain", "inet", "sluicegate", "guard"),
        ("nft", "flush", "set", "inet", "sluicegate", "clients"),
        ("nft", "add", "element", "inet", "sluicegate", "clients", "{ 10.110.0.99 }"),
        ("nft", "insert", "rule", "inet", "sluicegate", "forward", "accept"),
        ("ip", "rule", "del", "pref", "99"),
        ("ip", "rule", "del", "pref", "98"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
    ],
    ids=" ".join,
)
def test_meddling_is_put_right_and_leaks_nothing(
    world: World, serving: Popen[bytes], meddling: tuple[str, ...]
) -> None:
    def state() -> tuple[str, str, str, bool]:
        return (
            nft(world, "-s", "-t", "list", "table", "inet", "sluicegate"),
            nft(world, "list", "set", "inet", "sluicegate", "clients"),
            run("ip", "-n", world.gateway, "rule"),
            forwarding(world),
        )

    before = state()
    with Stream(world):
        run("ip", "netns", "exec", world.gateway, *meddling)
        eventually(lambda: state() == before, what="the kernel as before")
        eventually(lambda: world.udp_source(world.node) == PUBLIC)
    eventually(lambda: world.blocked(world.stranger))
    assert world.seen() == {PUBLIC}


def test_files_that_hold_secrets_are_for_root_only_and_logs_hold_none(
    plane: ControlPlane, gateway: Gateway, serving: Popen[bytes]
) -> None:
    assert {stat.S_IMODE(file.stat().st_mode) for file in gateway.state.iterdir()} == {0o600}
    command_line = Path(f"/proc/{serving.pid}/cmdline").read_text()
    for secret in (SECRET, plane.token):
        assert secret not in gateway.log_text()
        assert secret not in command_line


def test_a_public_address_that_the_vm_lacks_is_reported_and_nothing_forwarded(
    world: World, plane: ControlPlane, gateway: Gateway, serving: Popen[bytes]
) -> None:
    run("ip", "-n", world.gateway, "address", "del", f"{PUBLIC}/24", "dev", "eth0")
    run("ip", "-n", world.gateway, "address", "add", "203.0.113.8/24", "dev", "eth0")
    run("ip", "-n", world.gateway, "route", "replace", "default", "via", "203.0.113.1")
    eventually(lambda: "doesn't have the public address" in plane.reports[-1].detail)
    assert not plane.reports[-1].forwarding
    assert world.blocked(world.node)


def test_reports_count_connections_and_bytes(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    with world.tcp(world.node) as connection:
        connection.sendall(b"x" * 100_000)
        received = 0
        while received < 100_000:
            received += len(connection.recv(65536))
        eventually(lambda: plane.reports[-1].flows > 0 and plane.reports[-1].bytes_out > 100_000)


def test_the_agent_is_nearly_idle_while_nothing_happens(serving: Popen[bytes]) -> None:
    """A bound far above what is needed: it only tells a busy loop."""

    def ticks() -> int:
        fields = Path(f"/proc/{serving.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))

    before = ticks()
    time.sleep(3)
    assert ticks() - before < 60


def test_a_second_gateway_process_on_the_same_host_says_what_is_wrong(
    gateway: Gateway, serving: Popen[bytes], start: Start
) -> None:
    start()
    eventually(lambda: "probes can't be answered" in gateway.log_text())


def test_a_control_plane_that_restarts_is_found_again(plane: ControlPlane, serving: Popen[bytes]) -> None:
    plane.stop()
    plane.start()
    revision = plane.set_clients(STRANGER)
    eventually(lambda: plane.acknowledged == revision, seconds=60)
    reports = len(plane.reports)
    eventually(lambda: len(plane.reports) > reports, seconds=60)
