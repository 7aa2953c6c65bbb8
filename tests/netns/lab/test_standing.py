"""Faults that befall Droplets: what each cuts, that it stands until it is healed, and that healing mends it.

Droplet eth0 203.0.113.x ── next hop 203.0.113.1 ── observer 192.0.2.80
        eth1 10.110.0.x ─── VPC ─────────────────── node-1
"""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from egress.lab import droplet_faults
from egress.lab.client import LabError
from egress.wire import probe

from .conftest import Lab, wait_for
from .test_droplets import Droplet, create

pytestmark = [pytest.mark.netns, pytest.mark.cni]

#: Something that looks like the gateway's agent, as the only process that does.
AGENT = "sh -c 'while :; do sleep 100; done' /usr/local/lib/sluicegate/gateway.pyz"
#: Says "yes" when a machine is there: it answers, or refuses, which takes one as well.
KNOCK = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[3] == "udp" else socket.SOCK_STREAM
one = socket.socket(socket.AF_INET, kind)
one.settimeout(0.5)
try:
    one.connect((sys.argv[1], int(sys.argv[2])))
    if kind == socket.SOCK_DGRAM:
        one.send(b"?"), one.recv(1)
except ConnectionRefusedError:
    print("yes")
except OSError:
    print("no")
else:
    print("yes")
"""
ALL = {"vpc": "yes", "probes": "yes", "next hop": "yes", "beyond": "yes"}
CUT = {
    "hang": {"vpc": "no", "probes": "no"},
    "freeze": {},
    "agent_freeze": {},
    "no_forwarding": {},
    "cable_cut": {"vpc": "no", "probes": "no"},
    "probes_blocked": {"probes": "no"},
    "link_down": {"next hop": "no", "beyond": "no"},
    "internet_lost": {"next hop": "no", "beyond": "no"},
    "beyond_lost": {"beyond": "no"},
}
OUTSIDE = ("cable_cut", "probes_blocked", "internet_lost")


@pytest.fixture(scope="module")
def droplet(lab: Lab) -> Iterator[Droplet]:
    made = create(lab, "struck")
    made.wait_booted()
    start_agent(made)
    yield made
    lab.api("DELETE", f"droplets/{made.id}")


@pytest.fixture(autouse=True)
def _healed(lab: Lab) -> Iterator[None]:
    yield
    lab.client.heal()


def start_agent(droplet: Droplet) -> None:
    # Without a limit on what it says to those who knock.
    sysctls = "cd /proc/sys/net/ipv4; echo 1 > ip_forward; echo 0 > icmp_ratelimit"
    droplet.sh(f"setsid {AGENT} >/dev/null 2>&1 & {sysctls}")


def knock(lab: Lab, where: str, address: str, port: int, kind: str = "tcp") -> str:
    return lab.client.exec(where, ["python3", "-I", "-c", KNOCK, address, str(port), kind]).stdout.strip()


def seen(lab: Lab, droplet: Droplet) -> dict[str, str]:
    private = droplet.address("private")
    doors = {
        "vpc": ("node-1", private, 9),
        "probes": ("node-1", private, probe.PORT, "udp"),
        "next hop": (droplet.place, "203.0.113.1", 9),
        "beyond": (droplet.place, "192.0.2.80", 80),
    }
    with ThreadPoolExecutor(len(doors)) as pool:
        return dict(zip(doors, pool.map(lambda door: knock(lab, *door), doors.values()), strict=True))


def states(droplet: Droplet) -> dict[str, str]:
    """Return the states of the Droplet's processes: of the agent, and of others."""
    script = """
        for p in /proc/[0-9]*; do
            [ "$p" = /proc/$$ ] && continue
            state=$(cut -d' ' -f3 $p/stat 2>/dev/null) || continue
            tr '\\0' ' ' <$p/cmdline | grep -q sluicegate/gateway && echo "agent $state" || echo "other $state"
        done"""
    lines = [line.split() for line in droplet.sh(script).splitlines()]
    return {who: "T" if all(state == "T" for name, state in lines if name == who) else "S" for who, _ in lines}


@pytest.mark.parametrize("kind", CUT)
def test_a_fault_cuts_what_it_says_until_it_is_healed(lab: Lab, droplet: Droplet, kind: str) -> None:
    wait_for("all is well", lambda: seen(lab, droplet) == ALL)
    lab.client.strike(kind, droplet.place)
    (standing,) = lab.client.struck()
    assert (standing["kind"], standing["target"]) == (kind, droplet.place)
    inside = {"next hop": "no", "beyond": "no"} if kind == "hang" else {}
    # On a busy machine a knock may go unheard; what is cut lets none through ever.
    wait_for("only that is cut", lambda: seen(lab, droplet) == ALL | CUT[kind] | inside)
    stopped = {"hang": {"agent", "other"}, "freeze": {"agent", "other"}, "agent_freeze": {"agent"},
               "no_forwarding": {"agent"}}.get(kind, set())  # fmt: skip
    assert {who for who, state in states(droplet).items() if state == "T"} == stopped
    assert droplet.sh("cat /proc/sys/net/ipv4/ip_forward") == ("0" if kind == "no_forwarding" else "1")
    assert lab.client.heal(target=droplet.place) == [standing]
    wait_for("it is mended", lambda: seen(lab, droplet) == ALL)
    assert "T" not in states(droplet).values()
    assert lab.client.struck() == []
    droplet.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")


def test_all_kinds_are_tried() -> None:
    at_once = {"power_loss", "agent_kill", "ruleset_flush"}
    assert set(CUT) | at_once == set(droplet_faults.KINDS)


def test_what_is_over_as_soon_as_it_began_does_not_stand(lab: Lab, droplet: Droplet) -> None:
    droplet.sh("nft add table ip other")
    lab.client.strike("ruleset_flush", droplet.place)
    assert droplet.sh("nft list ruleset") == ""
    lab.client.strike("agent_kill", droplet.place)
    wait_for("the agent is gone", lambda: set(states(droplet)) == {"other"})
    assert lab.client.struck() == []
    start_agent(droplet)


def test_a_fault_can_end_by_itself(lab: Lab, droplet: Droplet) -> None:
    lab.client.strike("cable_cut", droplet.place, seconds=0.3)
    wait_for("it is over", lambda: not lab.client.struck())
    wait_for("it is mended", lambda: seen(lab, droplet) == ALL)


def test_two_faults_on_the_same_cable_end_one_by_one(lab: Lab, droplet: Droplet) -> None:
    lab.client.strike("cable_cut", droplet.place)
    lab.client.strike("hang", droplet.place)
    lab.client.heal("hang")
    assert seen(lab, droplet)["vpc"] == "no"
    lab.client.heal("cable_cut")
    wait_for("it is mended", lambda: seen(lab, droplet) == ALL)


@pytest.mark.parametrize(
    "kind", ["hang", "cable_cut", *(pytest.param(one, marks=pytest.mark.full) for one in OUTSIDE[1:])]
)
def test_a_power_cycle_ends_what_is_inside_and_leaves_what_is_outside(lab: Lab, kind: str, droplet: Droplet) -> None:
    lab.client.strike(kind, droplet.place)
    droplet.act("power_cycle")
    droplet.wait_booted()
    assert [one["kind"] for one in lab.client.struck()] == [kind][: kind in OUTSIDE]
    if kind in OUTSIDE:
        assert seen(lab, droplet) != ALL
    lab.client.heal()
    wait_for("it is mended", lambda: seen(lab, droplet) == ALL)
    start_agent(droplet)


def test_one_that_lost_its_power_boots_when_it_is_healed(lab: Lab, droplet: Droplet) -> None:
    lab.client.strike("cable_cut", droplet.place)
    lab.client.strike("power_loss", droplet.place)
    with pytest.raises(LabError, match="is off: power it on first"):
        lab.client.strike("freeze", droplet.place)
    lab.client.heal("cable_cut")
    assert lab.client.heal() != []
    droplet.wait_booted()
    wait_for("it is mended", lambda: seen(lab, droplet) == ALL)
    assert lab.client.heal() == []
    start_agent(droplet)


def test_what_befell_one_ends_with_it(lab: Lab) -> None:
    gone = create(lab, "gone")
    for kind in ("beyond_lost", "cable_cut"):
        lab.client.strike(kind, gone.place)
    lab.api("DELETE", f"droplets/{gone.id}")
    wait_for("it is gone", lambda: not lab.client.struck())
    assert "fault_beyond" not in lab.client.exec("internet", ["nft", "list", "tables"]).stdout
    with pytest.raises(LabError, match=f"no Droplet {gone.id}"):
        lab.client.strike("freeze", gone.place)


@pytest.mark.parametrize(
    ("kind", "target", "seconds", "message"),
    [
        ("rust", "droplet-{}", 0, "kind must be one of power_loss, .*, not 'rust'"),
        ("freeze", "droplet-x", 0, "no 'droplet-x' to strike: say droplet-NUMBER, or one of the nodes node-1, node-2"),
        ("freeze", "", 0, "no '' to strike"),
        ("agent_freeze", "node-1", 0, "this lab runs without node agents"),
        ("freeze", "droplet-{}", -1, "seconds must be from 0"),
        ("freeze", "droplet-{}", 3_601, "to 3600, not 3601"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_there_is(
    lab: Lab, droplet: Droplet, kind: str, target: str, seconds: float, message: str
) -> None:
    with pytest.raises(LabError, match=message):
        lab.client.strike(kind, target.format(droplet.id), seconds=seconds)
    assert lab.client.struck() == []


def test_the_command_strikes_lists_and_heals(lab: Lab, droplet: Droplet, settings: object) -> None:
    settings.LAB_SOCKET = str(lab.state / "lab.sock")  # type: ignore[attr-defined]

    def manage(*arguments: str) -> str:
        out = io.StringIO()
        call_command("lab", "fault", *arguments, stdout=out)
        return out.getvalue()

    number = str(droplet.id)
    assert manage("probes_blocked", "--droplet", number) == ""
    assert manage("list").split() == ["probes_blocked", "on", droplet.place]
    assert manage("heal", "--droplet", number).split() == ["ended:", "probes_blocked", "on", droplet.place]
    assert manage("list") == "no fault is waiting or stands\n"
    manage("freeze", "--droplet", number, "--seconds", "0.1")
    wait_for("it is over", lambda: not lab.client.struck())
    with pytest.raises(CommandError, match="agent_kill --droplet 3164001 or: lab fault agent_kill --node fra1-w1"):
        manage("agent_kill")
    with pytest.raises(CommandError, match="One at a time"):
        manage("agent_kill", "--droplet", number, "--node", "node-1")
