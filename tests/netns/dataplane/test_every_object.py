"""Each thing that the agent has in the kernel is taken away under traffic: nothing leaks, and the agent puts it back.

What there is to take away is read from the kernel, so whatever is added to the rules is tried here too. The topology is
in `dataplane_world`; on n1 runs the agent itself, at rest, with a control plane on its loopback.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dataplane_world import N1, OBSERVER, A, B, World, route

from egress.netkit.routing import PROTOCOL, SINK
from egress.netkit.ruleset import TABLE
from egress.wire.codec import decode
from egress.wire.messages import Route
from tests.unit.node.rig import Node, StandIn, table, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

KEY = "5e" * 32
FAMILIES = ("inet", "bridge")
#: The agent as it is, but for the pause between two repairs, which would only add up here. What the rig appends to the
#: command, which is how it starts an agent, is left out.
AGENT = (
    "import sys; from egress.node import __main__, steward; "
    "steward.GAP_SECONDS = 0.05; sys.argv[3:] = []; sys.exit(__main__.main())"
)
SHOP = ("shop1", "shop2")
#: A reply that comes while the translation is gone is for nobody here: the node itself says so, to the observer.
NODE_ITSELF = "10.110.0.21"


@pytest.fixture
def guarded(pods: World) -> Iterator[World]:
    """The world with its pods, the agent at rest, and shop's pods asking all the time, by TCP and UDP."""
    pods.sh("n1", "iptables-nft", "-P", "FORWARD", "DROP")
    pods.sh("n1", "iptables-nft", "-A", "FORWARD", "-s", "10.244.0.0/16", "-j", "ACCEPT")
    pods.sh("n1", "iptables-nft", "-A", "FORWARD", "-d", "10.244.0.0/16", "-j", "ACCEPT")
    for name, host in (("gw-a", "10.110.0.11"), ("gw-b", "10.110.0.12")):
        pods[name]("answer_probes", host=host, key=KEY)
    place = f"/run/netns/{pods.ns('n1')}"
    with tempfile.TemporaryDirectory(prefix="sgt-") as folder:
        control_plane = StandIn(Path(folder), netns=place)
        shop = decode(Route, json.dumps(route()).encode())
        control_plane.table = replace(table(shop), probe_key=KEY)
        control_plane.start()
        node = Node(Path(folder, "node"), f"https://localhost:{control_plane.port}", control_plane.ca_file, netns=place)
        for name in pods.pods:
            remember(pods, node, name)
        node.under = [sys.executable, "-c", AGENT, "--config", str(node.directory / "config.json")]
        try:
            node.start(real=True)
            wait_for(lambda: "10.244.1.11 : goto pair_7" in listing(pods), "the rules stand")
            wait_for(lambda: pods["shop1"]("ask", to=OBSERVER, port=80) == A, "they hold")
            # Just enabled, what the pods asked for before may still be answered; from here on nothing may.
            wait_for(lambda: not elements(pods, "asked"), "the toggle is over")
            for name in SHOP:
                pods[name]("hammer", to=OBSERVER, port=80)
            pods.sources()
            yield pods
            for name in SHOP:
                answers = pods[name]("hammered")
                assert N1 not in answers
                assert answers.get(A, 0) + answers.get(B, 0) > 0
        finally:
            node.stop()
            control_plane.stop()


def remember(world: World, node: Node, name: str) -> None:
    """Leave what the runtime notes of a container."""
    pod = world.pods[name]
    links = [{"name": pod["bridge"]}] if pod["bridge"] else []
    netns = f"/run/netns/{world.ns(name)}"
    links += [{"name": pod["interface"]}, {"name": "eth0", "mac": pod["mac"], "sandbox": netns}]
    entry = {
        "kind": "cniCacheV1",
        "containerId": name,
        "ifName": "eth0",
        "networkName": "pods",
        "cniArgs": [["K8S_POD_NAMESPACE", pod["namespace"]]],
        "netns": netns,
        "result": {"interfaces": links, "ips": [{"address": f"{pod['address']}/24"}]},
    }
    (node.cache_dir / f"pods-{name}-eth0").write_text(json.dumps(entry))


def listing(world: World) -> str:
    """Return our tables as nft prints them."""
    return world.sh("n1", "nft", "list", "ruleset")


def objects(world: World, family: str) -> list[dict]:
    """Return what is in our table of this family; nothing where it isn't there."""
    return ours(world.sh("n1", "nft", "-s", "-j", "list", "ruleset", family))


def ours(listed: str) -> list[dict]:
    """Return what is in our table, of nft's JSON."""
    objects = json.loads(listed)["nftables"]
    return [each for each in objects if TABLE in [value.get("table", value.get("name")) for value in each.values()]]


def elements(world: World, name: str) -> list:
    sets = [each["set"] for each in objects(world, "inet") if "set" in each]
    return next(each.get("elem", []) for each in sets if each["name"] == name)


#: Asked for in one go: this is looked at again and again.
LOOK = "\necho ---\n".join(
    [
        *(f"nft -s -j list ruleset {family}" for family in FAMILIES),
        "ip rule show",
        f"ip -4 route show table all proto {PROTOCOL}",
        "iptables-nft-save -t filter",
        # Its name and state; its MAC is another one each time.
        f"ip -br link | grep -w {SINK} | tr -s ' ' | cut -d ' ' -f 1-2",
        "sysctl -n net.ipv4.conf.eth1.rp_filter",
    ]
)


def owned(world: World) -> str:
    """Return all that is ours on n1, in a form to compare: without handles, in a fixed order of elements."""
    *tables, rules, routes, filters, link, sysctl = world.sh("n1", "sh", "-c", LOOK).split("---\n")
    seen = []
    for listed in tables:
        for each in ours(listed):
            for kind, content in each.items():
                content.pop("handle", None)
                content["elem"] = sorted(content.get("elem", ()), key=json.dumps)
                seen.append([kind, content])
    others = sorted(json.dumps(each, sort_keys=True) for each in seen if each[0] != "rule")
    nft_rules = [json.dumps(each, sort_keys=True) for each in seen if each[0] == "rule"]
    by_chain = sorted(nft_rules, key=lambda text: json.loads(text)[1]["chain"])
    ways = [*sorted(policy_rules(rules)), *sorted(tidy(routes)), *sorted(accepts(filters))]
    return "\n".join([*others, *by_chain, *ways, link, sysctl])


def policy_rules(shown: str) -> list[str]:
    return [line for line in tidy(shown) if f"proto {PROTOCOL}" in line]


def tidy(shown: str) -> list[str]:
    return [" ".join(line.split()) for line in shown.splitlines()]


def accepts(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if "sluicegate" in line]


def ways_to_take_away(world: World) -> dict[str, str]:
    """Return a command for each thing that is ours, by its name."""
    commands = {}
    *_, rules, routes, filters, _, _ = world.sh("n1", "sh", "-c", LOOK).split("---\n")
    for family in FAMILIES:
        commands[f"table {family}"] = f"nft delete table {family} {TABLE}"
        for each in objects(world, family):
            for kind, content in each.items():
                if kind == "chain" or (kind in {"set", "map"} and content.get("elem")):
                    name = content["name"]
                    commands[f"{kind} {family} {name}"] = f"nft flush {kind} {family} {TABLE} {name}"
    for rule in policy_rules(rules):
        priority, _, rest = rule.partition(": ")
        commands[f"rule {rule}"] = f"ip rule del pref {priority} {rest}"
    for line in tidy(routes):
        commands[f"route {line}"] = f"ip route del {line}"
    for line in accepts(filters):
        commands[f"accept {line}"] = line.replace("-A", "iptables-nft -D", 1)
    commands["sink"] = f"ip link del {SINK}"
    commands["sink down"] = f"ip link set {SINK} down"
    commands["rp_filter"] = "sysctl -qw net.ipv4.conf.eth1.rp_filter=1"
    return commands


def single_things(world: World) -> dict[str, tuple[str, int]]:
    """Return, by family and chain, how many rules there are: each is deleted by its place."""
    counts: dict[str, tuple[str, int]] = {}
    for family in FAMILIES:
        for each in objects(world, family):
            if "rule" in each:
                chain = each["rule"]["chain"]
                counts[f"{family} {chain}"] = chain, counts.get(f"{family} {chain}", ("", 0))[1] + 1
    return counts


def handle(world: World, family: str, chain: str, place: int) -> int:
    rules = [each["rule"] for each in objects(world, family) if "rule" in each]
    return int([rule["handle"] for rule in rules if rule["chain"] == chain][place])


def is_repaired(world: World, before: str, what: str) -> None:
    wait_for(lambda: owned(world) == before, f"{what} is put right", seconds=60)


def no_leak(world: World, what: str) -> None:
    assert world.sources() <= {A, B, NODE_ITSELF}, what


def test_whatever_is_taken_away_nothing_leaks_and_it_comes_back(guarded: World) -> None:
    before = owned(guarded)
    commands = ways_to_take_away(guarded)
    kinds = {name.partition(" ")[0] for name in commands}
    assert kinds == {"table", "chain", "set", "map", "rule", "route", "accept", "sink", "rp_filter"}
    for what, command in commands.items():
        guarded.sh("n1", *command.replace('"', "").split())
        is_repaired(guarded, before, what)
        no_leak(guarded, what)


@pytest.mark.full
def test_whatever_single_rule_is_deleted_nothing_leaks_and_it_comes_back(guarded: World) -> None:
    before = owned(guarded)
    for name, (chain, count) in single_things(guarded).items():
        family = name.partition(" ")[0]
        for place in range(count):
            what = f"rule {place} of {name}"
            number = handle(guarded, family, chain, place)
            guarded.sh("n1", "nft", "delete", "rule", family, TABLE, chain, "handle", str(number))
            is_repaired(guarded, before, what)
            no_leak(guarded, what)


PROGRAMS = {
    "a firewall that flushes all": ["nft flush ruleset"],
    "iptables flushed": ["iptables-nft -F", "iptables-nft -X", "iptables-nft -t nat -F"],
    "policy rules flushed": [
        "ip rule flush",
        "ip rule add pref 32766 lookup main",
        "ip rule add pref 32767 lookup default",
    ],
    "private leg down and up": ["ip link set eth1 down", "ip link set eth1 up"],
    "private leg renamed": [
        "ip link set eth1 down",
        "ip link set eth1 name legacy1",
        "ip link set legacy1 up",
        "ip link set legacy1 down",
        "ip link set legacy1 name eth1",
        "ip link set eth1 up",
    ],
    "private leg with another address": [
        "ip address del 10.110.0.21/20 dev eth1",
        "ip address add 10.110.0.99/20 dev eth1",
        "ip address del 10.110.0.99/20 dev eth1",
        "ip address add 10.110.0.21/20 dev eth1",
    ],
}
#: What each leaves of others that the node needs, and that isn't the agent's to put back.
AFTERWARDS = ["ip route replace 10.244.2.0/24 via 10.110.0.22", "iptables-nft -P FORWARD DROP"]


def test_what_other_programs_do_leaks_nothing_and_is_put_right(guarded: World) -> None:
    """One step after the other, with time in between for packets to find a way."""
    before = owned(guarded)
    for what, commands in PROGRAMS.items():
        for command in commands:
            guarded.sh("n1", *command.split())
            time.sleep(0.1)
            no_leak(guarded, f"{what}: {command}")
        for command in AFTERWARDS:
            guarded.sh("n1", *command.split())
        is_repaired(guarded, before, what)
        no_leak(guarded, what)


def test_a_program_that_flushes_again_and_again_leaks_nothing_and_is_outlasted(guarded: World) -> None:
    before = owned(guarded)
    for _ in range(100):
        guarded.sh("n1", "nft", "flush", "ruleset")
    no_leak(guarded, "a hundred flushes")
    guarded.sh("n1", "iptables-nft", "-P", "FORWARD", "DROP")
    is_repaired(guarded, before, "everything")
    no_leak(guarded, "after a hundred flushes")
    for name in SHOP:
        wait_for(lambda name=name: guarded[name]("ask", to=OBSERVER, port=80) == A, "traffic goes on")  # type: ignore[misc]
