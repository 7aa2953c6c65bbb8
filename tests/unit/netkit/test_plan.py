"""Decisions of the data plane, without a kernel."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.netkit.desired import Pod, Wish
from egress.netkit.errors import DataplaneError
from egress.netkit.local import (
    Local,
    Memory,
    awaited,
    draining,
    forget_gateways,
    idle_gateways,
    is_internet,
    localize,
    not_internet,
    remember,
    removed_gateways,
    usable_gateway,
)
from egress.netkit.marks import MarkLayout, allocate
from egress.netkit.plan import SeenTable, plan_routing, plan_table
from egress.netkit.routing import Routing, Rule, adopted_marks, collisions, routing_for
from egress.netkit.ruleset import Table, bridge_table, inet_table
from egress.wire.messages import ClusterSettings, Route, RouteGateway

SETTINGS = ClusterSettings(vpc="10.110.0.0/20", local_networks=("10.244.0.0/16", "10.96.0.0/16"))


def gateway(slot: int, pair: int = 7, state: str = "active") -> RouteGateway:
    return RouteGateway(
        id=f"gw-{pair}-{slot}",
        slot=slot,
        private_address=f"10.110.1.{pair * 2 + slot}",
        public_address=f"203.0.113.{pair * 2 + slot}",
        state=state,  # type: ignore[arg-type]
    )


def route(namespace: str = "shop", pair: int = 7, **more: object) -> Route:
    terms: dict = {"state": "active", "gateways": (gateway(0, pair), gateway(1, pair)), **more}
    return Route(namespace=namespace, pair=pair, **terms)


def pod(host: int, namespace: str = "shop", bridge: str = "") -> Pod:
    return Pod(
        address=f"10.244.1.{host}", namespace=namespace, container_id=f"c{host}", interface=f"v{host}", bridge=bridge,
        mac=f"02:00:00:00:00:{host:02X}",
    )  # fmt: skip


def wish(*pods: Pod, routes: tuple[Route, ...] = (), **more: object) -> Wish:
    terms: dict = {"settings": SETTINGS, "ordinal": 0, **more}
    return Wish(
        private_interface="eth1", private_address="10.110.0.21", pods={each.address: each for each in pods},
        routes={each.namespace: each for each in routes}, **terms,
    )  # fmt: skip


def local(wanted: Wish, memory: Memory | None = None) -> Local:
    return localize(wanted, memory or Memory())[0]


def as_seen(table: Table) -> SeenTable:
    return SeenTable(
        {name: (chain.hook, chain.rules) for name, chain in table.chains.items()},
        {name: each.elements for name, each in table.sets.items()},
    )


# --- marks


@pytest.mark.parametrize("mask", [0x0FFF0000, 0xFF, 0xFFFF0000, 0xFFFFFFFF, 0x700])
def test_special_marks_and_gateways_marks_differ_and_stay_inside_the_mask(mask: int) -> None:
    layout = MarkLayout(mask)
    values = [layout.shared, layout.unrouted, layout.value(1), layout.value(layout.last)]
    assert len({0, *values}) == 5 - (layout.last == 1)
    assert all(value & layout.keep == 0 for value in values)
    assert layout.number(layout.value(layout.last) | layout.keep) == layout.last


@pytest.mark.parametrize("mask", [0, 0x5, 0x3, 0x0F0F0000])
def test_a_mask_with_holes_or_too_few_bits_is_refused(mask: int) -> None:
    with pytest.raises(DataplaneError, match="contiguous"):
        MarkLayout(mask)


def test_a_number_is_reissued_only_when_no_connection_bears_it() -> None:
    layout = MarkLayout(0x0FFF0000)
    assert allocate({"a": 1}, {"a", "b"}, {2, 3}, layout) == {"a": 1, "b": 4}
    assert allocate({}, {"b"}, (), layout) == {"b": 1}


def test_running_out_of_marks_says_what_to_do() -> None:
    with pytest.raises(DataplaneError, match="widen the cluster's mark mask"):
        allocate({}, {"a", "b"}, {1, 2, 3, 4}, MarkLayout(0x70))


# --- which gateway


@pytest.mark.parametrize(("ordinal", "spread", "slot"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 0), (7, 0, 1)])
def test_a_node_prefers_its_own_slot(ordinal: int, spread: int, slot: int) -> None:
    chosen = usable_gateway(route(spread=spread), ordinal, frozenset())
    assert chosen
    assert chosen.slot == slot


@pytest.mark.parametrize(
    ("states", "suspect", "slot"),
    [
        (("draining", "active"), (), 1),
        (("active", "active"), ("gw-7-0",), 1),
        (("active", "draining"), ("gw-7-0",), None),
        (("draining", "draining"), (), None),
        (("active", "active"), ("gw-7-0", "gw-7-1"), None),
        (("active", "active"), ("gw-8-0",), 0),
    ],
)
def test_draining_and_suspect_gateways_get_nothing_new(
    states: tuple[str, str], suspect: tuple[str, ...], slot: int | None
) -> None:
    wanted = route(gateways=(gateway(0, state=states[0]), gateway(1, state=states[1])))
    chosen = usable_gateway(wanted, 0, frozenset(suspect))
    assert (chosen.slot if chosen else None) == slot


# --- what concerns this node


def test_only_gateways_of_pods_here_get_a_mark() -> None:
    found, memory = localize(wish(pod(11), routes=(route(), route("blog", 8))), Memory())
    assert {each.id for each in found.gateways} == {"gw-7-0", "gw-7-1"} == set(memory.marks)
    assert [each.number for each in found.pairs] == [7]


def test_a_gateway_keeps_its_mark_while_connections_bear_it_and_loses_it_after() -> None:
    memory = localize(wish(pod(11), routes=(route(),)), Memory())[1]
    empty = wish(routes=(route(),))
    assert forget_gateways(memory, empty, {1: 3}).marks == {"gw-7-0": 1}
    assert forget_gateways(memory, empty, {}).marks == {}
    assert forget_gateways(memory, wish(pod(11), routes=(route(),)), {}).marks == memory.marks


def test_a_dead_gateway_loses_its_mark_and_gets_another_as_long_as_connections_bear_it() -> None:
    had = localize(wish(pod(11), routes=(route(),)), Memory())[1]
    found, memory = localize(wish(pod(11), routes=(route(),), dead=frozenset({"gw-7-0"})), had)
    assert (dict(memory.marks), dict(memory.retired)) == ({"gw-7-1": 2}, {1: 7})
    assert [(pair.gateways, pair.fresh, pair.retired) for pair in found.pairs] == [((2,), 2, (1,))]
    back, memory = localize(wish(pod(11), routes=(route(),)), memory)
    assert memory.marks == {"gw-7-0": 3, "gw-7-1": 2}
    assert [pair.retired for pair in back.pairs] == [(1,)]
    assert forget_gateways(memory, wish(pod(11), routes=(route(),)), {1: 0}).retired == {1: 7}
    assert forget_gateways(memory, wish(pod(11), routes=(route(),)), {}).retired == {}


@pytest.mark.parametrize(
    ("suspect", "resting", "slot"),
    [((), ("gw-7-0",), 1), (("gw-7-1",), ("gw-7-0",), 0), ((), ("gw-7-1", "gw-7-0"), 1), ((), ("gw-7-0", "gw-7-1"), 0)],
)
def test_who_rests_is_taken_where_nobody_else_is_and_the_first_back_goes_first(
    suspect: tuple[str, ...], resting: tuple[str, ...], slot: int
) -> None:
    chosen = usable_gateway(route(), 0, frozenset(suspect), resting)
    assert chosen
    assert chosen.slot == slot


def test_a_gateway_of_no_route_is_removed() -> None:
    memory = Memory(marks={"gw-7-0": 1, "gone": 2}, addresses={"gw-7-0": "10.110.1.14", "gone": "10.110.1.9"})
    assert removed_gateways(memory, wish(routes=(route(),))) == {"gone"}


def test_enabling_remembers_who_ran_before_and_until_when() -> None:
    memory, toggles = remember(wish(pod(11), pod(12, "blog"), routes=(route(),)), Memory(), 1000.0)
    assert toggles.enabled == {"10.244.1.11"}
    assert memory.earlier == {"10.244.1.11": 1000.0 + SETTINGS.flow_deadline_seconds}
    again, toggles = remember(wish(pod(11), pod(13), routes=(route(),)), memory, 2000.0)
    assert again.earlier == memory.earlier, "a pod that came later ran never without"
    assert not toggles.enabled


def test_a_newborn_pod_did_not_run_before() -> None:
    memory, toggles = remember(
        wish(pod(11), routes=(route(),)), Memory(earlier={"10.244.1.11": 9e9}), 0.0, "10.244.1.11"
    )
    assert "10.244.1.11" in memory.earlier or not toggles.enabled
    assert not toggles.enabled


def test_disabling_is_told_once_and_the_deadline_ends_what_is_earlier() -> None:
    on, off = wish(pod(11), routes=(route(),)), wish(pod(11), routes=(route(state="draining"),))
    memory = remember(on, Memory(), 0.0)[0]
    late, toggles = remember(on, memory, 1e6)
    assert toggles.expired == {"10.244.1.11"}
    assert late.earlier == {}
    drained, toggles = remember(off, memory, 10.0)
    assert toggles.disabled == {"10.244.1.11"}
    assert drained.earlier == {}
    assert remember(off, drained, 11.0)[1].disabled == set()
    assert remember(on, drained, 12.0)[1].enabled == {"10.244.1.11"}


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("192.0.2.80", True),
        ("10.1.1.1", True),
        ("10.244.3.4", False),
        ("10.110.0.5", False),
        ("169.254.169.254", False),
        ("127.0.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_what_the_internet_is(address: str, outside: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_internet(wish(), address) is outside


def test_overlapping_local_networks_become_disjoint() -> None:
    networks = not_internet("10.0.0.0/8", ("10.244.0.0/16", "192.168.1.7/32", "169.254.0.0/16"))
    assert networks.count("10.0.0.0/8") == 1
    assert "10.244.0.0/16" not in networks
    assert "192.168.1.7" in networks


# --- tables


def test_a_pair_without_usable_gateway_refuses_unless_shared_was_chosen() -> None:
    for more, target in (({}, "refused"), ({"on_outage": "shared"}, "shared")):
        wanted = wish(pod(11), routes=(route(**more),), suspect=frozenset({"gw-7-0", "gw-7-1"}))
        assert inet_table(wanted, local(wanted)).chains["fresh_7"].rules == (f"goto {target}",)


def test_suspicion_changes_one_rule_whatever_the_number_of_pods() -> None:
    before = wish(*(pod(host) for host in range(1, 100)), routes=(route(),))
    after = replace(before, suspect=frozenset({"gw-7-0"}))
    change = plan_table(inet_table(after, local(after)), as_seen(inet_table(before, local(before))))
    lines = change.script.splitlines()
    assert [line for line in lines if "return" not in line] == [
        "flush chain inet sluicegate fresh_7",
        "add rule inet sluicegate fresh_7 goto gateway_2",
    ]
    assert len(lines) == 7, "and what it still returns is counted"


def test_a_pod_costs_elements_only() -> None:
    before, after = wish(pod(11), routes=(route(),)), wish(pod(11), pod(12), routes=(route(),))
    script = plan_table(inet_table(after, local(after)), as_seen(inet_table(before, local(before)))).script
    assert all(line.startswith("add element") for line in script.splitlines())
    assert "goto pair_7" in script


def test_bridge_ports_are_bound_to_address_and_mac() -> None:
    wanted = wish(pod(11, bridge="cni0"), routes=(route(),))
    sets = bridge_table(wanted, local(wanted), frozenset({"10.244.1.1"})).sets
    assert sets["places"].elements == {'"v11" . 10.244.1.11'}
    assert sets["station_places"].elements == {'"v11" . 02:00:00:00:00:0b'}
    assert inet_table(wanted, local(wanted)).sets["places"].elements == {'"cni0" . 10.244.1.11'}


def test_a_missing_table_is_written_whole_in_one_transaction() -> None:
    wanted = wish(pod(11), routes=(route(),))
    change = plan_table(inet_table(wanted, local(wanted)), None)
    assert change.script.startswith(
        "add table inet sluicegate\ndelete table inet sluicegate\nadd table inet sluicegate\n"
    )
    assert change.altered == ("table inet sluicegate was missing",)


wishes = st.builds(
    lambda hosts, states, shared, suspect, ordinal: wish(
        *(pod(host, f"app{host % 5}", "cni0" if host % 2 else "") for host in hosts),
        routes=tuple(
            route(f"app{n}", n + 1, state=state, on_outage="shared" if n in shared else "reject")
            for n, state in enumerate(states)
        ),
        suspect=frozenset(f"gw-{n // 2 + 1}-{n % 2}" for n in suspect),
        ordinal=ordinal,
    ),
    st.sets(st.integers(1, 60), max_size=12),
    st.lists(st.sampled_from(["active", "draining"]), max_size=5),
    st.sets(st.integers(0, 4)),
    st.sets(st.integers(0, 9)),
    st.integers(0, 3),
)


@given(wishes, wishes)
def test_whatever_was_there_the_plan_leads_to_what_is_wanted_and_then_to_nothing(before: Wish, after: Wish) -> None:
    had, memory = localize(before, Memory())
    wants, _ = localize(after, memory)
    for make in (inet_table, lambda w, l: bridge_table(w, l, frozenset())):  # noqa: E741 - one line
        seen = as_seen(make(before, had))
        assert _played(plan_table(make(after, wants), seen).script, seen) == as_seen(make(after, wants))
        assert plan_table(make(after, wants), as_seen(make(after, wants))).script == ""


def _played(script: str, seen: SeenTable) -> SeenTable:
    chains, sets = dict(seen.chains), {name: set(elements) for name, elements in seen.sets.items()}
    for line in script.splitlines():
        verb, kind, _, _, name, *rest = line.split(" ", 5)
        text = rest[0] if rest else ""
        if kind == "element":
            given_elements = set(text.strip("{ }").split(", "))
            if verb == "add":
                sets[name] |= given_elements
            else:
                sets[name] = {element for element in sets[name] if element.partition(" : ")[0] not in given_elements}
        elif (verb, kind) == ("add", "rule"):
            hook, rules = chains[name] or ("", ())
            chains[name] = (hook, (*rules, text))
        elif verb == "delete":
            del chains[name]
        elif verb == "flush":
            chains[name] = ((chains[name] or ("", ()))[0], ())
        else:
            chains.setdefault(name, ("", ()))
    return SeenTable(chains, {name: frozenset(elements) for name, elements in sets.items()})


@given(wishes)
def test_every_active_pod_is_guarded_and_none_other(wanted: Wish) -> None:
    found = local(wanted)
    rules = routing_for(wanted, found, guarded=True).rules
    active = {
        key for key, each in wanted.pods.items() if (r := wanted.routes.get(each.namespace)) and r.state == "active"
    }
    assert {rule.source for rule in rules if rule.source} == active
    assert all(rule.source == "" for rule in routing_for(wanted, found, guarded=False).rules)


@given(wishes)
def test_each_gateway_has_a_route_that_fails_closed(wanted: Wish) -> None:
    found = local(wanted)
    routes = routing_for(wanted, found, guarded=True).routes
    for each in found.gateways:
        kinds = {entry.kind for entry in routes if entry.table == SETTINGS.table_base + each.number}
        assert kinds == {"unicast", "unreachable"}


# --- rules and routes


def test_marks_are_adopted_from_rules_and_routes() -> None:
    wanted = wish(pod(11), routes=(route(),))
    found, memory = localize(wanted, Memory(marks={"gw-7-1": 5}, addresses={"gw-7-1": "10.110.1.15"}))
    assert adopted_marks(wanted, routing_for(wanted, found, guarded=True)) == (memory.marks, memory.addresses)


def test_guards_go_before_and_come_after_the_ruleset() -> None:
    on, off = wish(pod(11), routes=(route(),)), wish(pod(11), routes=(route(state="draining"),))
    with_guard, without = (routing_for(each, local(each), guarded=True) for each in (on, off))
    assert [rule.source for rule in plan_routing(with_guard, without).guards_added] == ["10.244.1.11"]
    assert [rule.source for rule in plan_routing(without, with_guard).guards_deleted] == ["10.244.1.11"]
    assert plan_routing(with_guard, with_guard).altered == ()
    assert any("missing rule" in text for text in plan_routing(with_guard, Routing(frozenset(), frozenset())).altered)


def test_collisions_name_what_others_hold() -> None:
    foreign = [
        Rule(priority=5001, action="lookup", target=9),
        Rule(priority=1, action="lookup", mask=0x10000, mark=0x10000),
    ]
    told = " ".join(collisions(wish(), foreign, [52_010, 200]))
    assert "priority 5001" in told
    assert "0x10000" in told
    assert "52010" in told
    assert "200" not in told.replace("52000", "")
    assert collisions(wish(), [Rule(priority=32766, action="lookup", target=254)], [200]) == ()


def test_a_draining_gateway_is_waited_for_like_a_draining_route() -> None:
    half = route(gateways=(gateway(0, state="draining"), gateway(1)))
    memory = Memory(marks={"gw-7-0": 1, "gw-7-1": 2})
    for pods in ((), (pod(1),)):
        assert [draining(wish(*pods, routes=(each,)), memory) for each in (route(), route(state="draining"), half)] == [
            frozenset(),
            frozenset({"gw-7-0", "gw-7-1"}),
            frozenset({"gw-7-0"}),
        ]


def test_counted_is_what_drains_idles_or_has_retired_and_nothing_else() -> None:
    half = route(gateways=(gateway(0, state="draining"), gateway(1)))
    memory = Memory(marks={"gw-7-0": 1, "gw-7-1": 2, "gw-8-0": 3}, retired={4: 7})
    assert awaited(wish(pod(1), routes=(half,)), memory) == {1, 3, 4}
    assert awaited(wish(pod(1), routes=(route(),)), Memory(marks={"gw-7-0": 1, "gw-7-1": 2})) == frozenset()


def test_a_drain_of_gateways_without_a_mark_here_is_not_waited_for() -> None:
    elsewhere = route("blog", pair=9, state="draining")
    assert not draining(wish(pod(1), routes=(route(), elsewhere)), Memory(marks={"gw-7-0": 1, "gw-7-1": 2}))


def test_gateways_whose_pods_have_gone_are_idle_but_not_removed() -> None:
    memory = Memory(marks={"gw-7-0": 1, "gw-7-1": 2, "gw-gone": 3})
    assert idle_gateways(memory, wish(pod(1), routes=(route(),))) == {"gw-gone"}
    assert idle_gateways(memory, wish(routes=(route(),))) == set(memory.marks)
    assert removed_gateways(memory, wish(routes=(route(),))) == {"gw-gone"}
