"""How a pair fares, from its gateways and the words of the nodes that carry the app."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egress.control.condition import Condition, Side, State, Word, condition_of, facts_of
from egress.control.models import GatewayStatus

A, B = "203.0.113.10", "203.0.113.20"


def side(slot: int, status: str = "ready", health: str = "healthy", *, lost: bool = False) -> Side:
    return Side(
        id=f"gw-{'ab'[slot]}",
        gateway="AB"[slot],
        address=(A, B)[slot],
        status=status,
        health=health,
        lost=lost,
    )


def word(a: str = "healthy", b: str = "healthy", *, fresh: bool = True) -> Word:
    return Word(gateways={"gw-a": a, "gw-b": b}, fresh=fresh)


def judge(*sides: Side, words: tuple[Word, ...] = (), on_outage: str = "reject", before: str = "") -> Condition:
    return condition_of(sides, words, on_outage=on_outage, before=before)


UP, DOWN = side(0), side(1, health="unhealthy")
OUT = word("unhealthy", "unhealthy")


def test_two_that_work_are_whole() -> None:
    assert judge(side(0), side(1), words=(word(),)).state == State.WHOLE


def test_one_that_fails_is_told_with_what_follows() -> None:
    told = judge(UP, DOWN)
    assert (told.state, told.reason, told.gateways) == (State.DEGRADED, "GatewayDown", ("B",))
    assert told.message == (
        f"Gateway B is down. New connections leave from {A}. The app works, without redundancy for now. "
        "We are bringing it back; there is nothing for you to do."
    )


@pytest.mark.parametrize(
    ("on_outage", "follows"),
    [
        ("reject", "New connections are blocked, not sent from shared addresses."),
        ("shared", "New connections leave from shared addresses, as you chose: your firewall sees other addresses."),
    ],
)
def test_both_down_is_an_outage_that_says_what_was_chosen(on_outage: str, follows: str) -> None:
    for told in (
        judge(side(0, health="unhealthy"), DOWN, on_outage=on_outage),
        judge(side(0), side(1), words=(OUT,), on_outage=on_outage),
    ):
        assert told.state == State.OUTAGE
        assert follows in told.message


def test_a_lost_address_is_named_and_must_leave_firewalls() -> None:
    told = judge(side(0, "error", lost=True), side(1))
    assert (told.state, told.reason) == (State.DEGRADED, "GatewayLost")
    assert f"{A} is lost with its server and may become a stranger's: take it out of firewalls." in told.message
    assert f"New connections leave from {B}." in told.message


@pytest.mark.parametrize("status", ["draining", "maintenance", "booting", "pending", "creating"])
def test_planned_work_alarms_nobody(status: str) -> None:
    health = "unknown" if status in {"booting", "pending", "creating"} else "healthy"
    told = judge(side(0, status, health), side(1))
    assert (told.state, told.reason, told.gateways) == (State.MAINTENANCE, "Maintenance", ("A",))
    assert "as planned" in told.message
    assert "nothing for you to do" in told.message


@pytest.mark.parametrize("before", ["degraded", "outage"])
def test_work_on_what_failed_before_is_repair(before: str) -> None:
    told = judge(side(0, "booting", "unknown"), side(1), before=before)
    assert (told.state, told.reason) == (State.DEGRADED, "GatewayInRepair")
    assert judge(side(0, "maintenance", "unhealthy"), side(1)).reason == "GatewayInRepair"


def test_nodes_say_nothing_good_of_what_is_laid_anew_and_that_is_no_failure() -> None:
    told = judge(side(0, "maintenance"), side(1), words=(word(a="unhealthy"),))
    assert told.state == State.MAINTENANCE


def test_nodes_that_reach_a_gateway_are_believed_over_its_silence() -> None:
    """The control plane that was away hears nothing of gateways yet; the app's packets leave by them."""
    silent = (side(0, health="unhealthy"), side(1, health="unhealthy"))
    assert judge(*silent, words=(word(),)).state == State.WHOLE
    assert judge(*silent, words=(word(b="unhealthy"),)).state == State.DEGRADED


def test_one_node_of_several_that_misses_a_gateway_is_not_the_gateways_failure() -> None:
    assert judge(side(0), side(1), words=(word(), word(a="unhealthy"))).state == State.WHOLE


def test_nodes_that_reach_neither_while_others_do_are_counted() -> None:
    told = judge(side(0), side(1), words=(word(), OUT, word()))
    assert (told.state, told.reason, told.nodes_out) == (State.DEGRADED, "SomeNodesCutOff", 1)
    assert told.message.startswith("Of 3 nodes with containers of the app 1 reaches neither gateway.")


def test_nobody_heard_of_is_no_outage() -> None:
    silent = (side(0, health="unhealthy"), side(1, health="unhealthy"))
    assert judge(*silent, words=(word(fresh=False),)).state == State.UNKNOWN
    assert judge(*silent).state == State.OUTAGE, "without containers the gateways' own silence is all there is"


@pytest.mark.parametrize("status", ["draining", "maintenance", "booting"])
def test_the_last_one_being_worked_on_is_an_outage(status: str) -> None:
    assert judge(side(0, status), DOWN).state == State.OUTAGE, "nodes send nothing new to one that drains"


def facts(condition: Condition, *uncovered: str) -> dict[str, str]:
    return {fact.type: fact.status for fact in facts_of(condition, uncovered)}


def test_conditions_for_programs() -> None:
    whole, degraded = judge(side(0), side(1)), judge(UP, DOWN)
    outage = judge(side(0, health="unhealthy"), DOWN)
    cut_off = judge(side(0), side(1), words=(word(), OUT))
    unheard = judge(side(0, health="unhealthy"), DOWN, words=(word(fresh=False),))
    assert facts(whole) == {"Available": "True", "Redundant": "True"}
    assert facts(degraded) == {"Available": "True", "Redundant": "False"}
    assert facts(judge(side(0, "draining"), side(1))) == {"Available": "True", "Redundant": "False"}
    assert facts(outage) == {"Available": "False", "Redundant": "False"}
    assert facts(cut_off) == {"Available": "False", "Redundant": "False"}
    assert facts(unheard) == {"Available": "Unknown", "Redundant": "Unknown"}
    assert facts(whole, "node-3") == {"Available": "True", "Redundant": "True", "Covered": "False"}


sides = st.builds(
    side,
    st.just(0),
    st.sampled_from(GatewayStatus.values),
    st.sampled_from(["unknown", "healthy", "unhealthy"]),
    lost=st.booleans(),
)
says = st.sampled_from(["unknown", "healthy", "unhealthy"])
words = st.lists(st.builds(word, says, says, fresh=st.booleans()), max_size=4).map(tuple)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sides, sides, words, st.sampled_from(["", *State]))
def test_an_outage_is_never_told_while_one_gateway_serves_a_node(
    first: Side, second: Side, heard: tuple[Word, ...], before: str
) -> None:
    told = judge(first, side(1, second.status, second.health), words=heard, before=before)
    ready = {f"gw-{'ab'[n]}" for n, each in enumerate((first, second)) if each.status == "ready"}
    served = any(each.fresh and each.gateways[name] == "healthy" for each in heard for name in ready)
    if served:
        assert told.state not in {State.OUTAGE, State.UNKNOWN}
    assert told.message
    assert told.reason
