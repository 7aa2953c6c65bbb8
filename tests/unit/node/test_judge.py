"""The judge of gateways, round by round, without sockets or clocks."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.node.judge import ANSWERS_TO_RETURN, Judge, Judgement, Target, Verdict
from egress.wire.messages import Probing
from egress.wire.probe import FORWARDING, LEAVING, NO_INTERNET, NO_LINK, Answer

ROUND = 0.1
PAIR = {"a": Target("10.0.0.1", "b"), "b": Target("10.0.0.2", "a")}
#: A second pair beside it, so that not all that this node knows falls silent at once.
TWO = {**PAIR, "c": Target("10.0.0.3", "d"), "d": Target("10.0.0.4", "c")}


def judge(targets: dict[str, Target] | None = None, **settings: int) -> Judge:
    made = Judge()
    made.follow(targets or TWO, Probing(**settings))
    play(made)
    return made


def play(judged: Judge, rounds: int = 1, silent: Iterable[str] = (), boot: bytes = b"1" * 8, **flags: int) -> None:
    """Play so many rounds: all answer that all is well but the `silent` ones and those with `flags`."""
    for _ in range(rounds):
        heard = judged.sights.keys() - set(silent)
        judged.end_round(
            ROUND, {each: Answer(b"", flags.get(each, FORWARDING), boot if each == "a" else b"1" * 8) for each in heard}
        )


def suspects(judged: Judge) -> set[str]:
    return set(judged.judgement().suspect)


def bury(judged: Judge) -> None:
    """Do what the data plane and the agent do about who is doubted, and then dead."""
    judged.take_returned(dict.fromkeys(judged.doubted(), 0))
    judged.take_buried(judged.dead())


def test_three_silent_rounds_make_a_suspect_and_five_answers_bring_it_back() -> None:
    judged = judge()
    play(judged, 2, silent="a")
    assert suspects(judged) == set()
    play(judged, silent="a")
    assert judged.reasons() == {"a": "silent"}
    play(judged, ANSWERS_TO_RETURN - 1)
    assert suspects(judged) == {"a"}
    play(judged, silent="a")
    play(judged, ANSWERS_TO_RETURN)
    assert suspects(judged) == set()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (0, "not_forwarding"),
        (FORWARDING | LEAVING, "leaving"),
        (FORWARDING | NO_LINK, "no_link"),
        (FORWARDING | NO_INTERNET, "no_internet"),
        (FORWARDING | NO_INTERNET | NO_LINK, "no_link"),
    ],
)
def test_a_gateways_own_word_counts_at_once(flags: int, reason: str) -> None:
    judged = judge()
    play(judged, a=flags)
    assert judged.reasons() == {"a": reason}
    assert judged.health() == {"a": "unhealthy", "b": "healthy", "c": "healthy", "d": "healthy"}


def test_two_seconds_of_silence_make_it_dead_unless_packets_come_back_through_it() -> None:
    judged = judge()
    play(judged, 19, silent="a")
    assert judged.doubted() == set()
    play(judged, 2, silent="a")
    assert judged.doubted() == {"a"}
    judged.take_returned({"a": 17})
    assert judged.dead() == judged.doubted() == set()
    play(judged, 21, silent="a")
    judged.take_returned({})
    assert judged.doubted() == {"a"}, "what can't be told isn't concluded"
    judged.take_returned({"a": 17})
    assert judged.dead() == {"a"}
    assert judged.reasons() == {"a": "dead"}


def test_what_came_back_just_after_the_silence_began_counts_from_then() -> None:
    judged = judge()
    play(judged, 3, silent="a")
    judged.take_returned({"a": 7})
    play(judged, 19, silent="a")
    judged.take_returned({"a": 7})
    assert judged.dead() == set()
    play(judged, silent="a")
    judged.take_returned({"a": 7})
    assert judged.dead() == {"a"}


def test_a_kernel_that_answers_keeps_a_silent_gateway_alive_but_not_one_that_says_it_does_not_forward() -> None:
    judged = judge()
    for _ in range(60):
        play(judged, silent="a")
        if "a" in judged.reasons():
            judged.sign_of_life("a")
    assert judged.doubted() == set()
    play(judged, 30, a=0)
    judged.sign_of_life("a")
    assert judged.doubted() == {"a"}


def test_links_and_the_internet_are_expected_back_for_ever() -> None:
    judged = judge()
    play(judged, 600, a=FORWARDING | NO_LINK, c=FORWARDING | NO_INTERNET)
    assert judged.doubted() == set()
    assert suspects(judged) == {"a", "c"}


def test_a_gateway_that_leaves_is_dead_when_it_falls_silent() -> None:
    judged = judge(dead_after_ms=30_000)
    play(judged, 50, a=FORWARDING | LEAVING)
    assert judged.doubted() == set()
    play(judged, 3, silent="a")
    assert judged.doubted() == {"a"}


def test_another_boot_is_dead_once_and_comes_back_only_when_that_was_seen_to() -> None:
    judged = judge()
    play(judged, boot=b"2" * 8)
    assert judged.dead() == {"a"}
    play(judged, 100, boot=b"2" * 8)
    assert judged.dead() == {"a"}
    bury(judged)
    play(judged, boot=b"2" * 8)
    assert judged.dead() == suspects(judged) == set()
    play(judged, 100, boot=b"2" * 8)
    assert judged.dead() == set()


def test_what_the_control_plane_knows_to_be_off_is_dead_as_long_as_it_says_so() -> None:
    judged = judge()
    judged.follow({**TWO, "a": Target("10.0.0.1", "b", down=True)}, judged.probing)
    assert judged.dead() == {"a"}
    bury(judged)
    play(judged, 50)
    assert judged.dead() == {"a"}
    judged.follow(TWO, judged.probing)
    play(judged)
    assert suspects(judged) == set()
    assert judged.judgement().resting == ("a",)


# --- guards


def test_all_silent_at_once_is_this_nodes_fault_and_changes_nothing_then_or_after() -> None:
    judged = judge()
    play(judged, 1, silent="ab")
    play(judged, 300, silent="abcd")
    assert (suspects(judged), judged.doubted()) == (set(), set())
    assert set(judged.health().values()) == {"unknown"}
    play(judged, 1, silent="bcd")
    assert (suspects(judged), judged.doubted()) == (set(), set()), "those that come back a round later aren't dead"


def test_one_after_the_other_is_their_own_fault() -> None:
    judged = judge(PAIR)
    play(judged, 10, silent="a")
    play(judged, 10, silent="ab")
    assert suspects(judged) == {"a", "b"}


def test_a_node_whose_gateways_were_half_dead_can_still_be_at_fault() -> None:
    judged = judge()
    play(judged, 40, silent="a")
    bury(judged)
    play(judged, 100, silent="abcd")
    assert suspects(judged) == {"a"} == judged.dead()


def test_the_only_gateway_that_a_node_knows_is_never_given_up_for_silence() -> None:
    judged = judge({"a": Target("10.0.0.1")})
    play(judged, 100, silent="a")
    assert suspects(judged) == set()


def test_all_answering_without_forwarding_is_their_fault() -> None:
    judged = judge(PAIR)
    play(judged, 1, a=0, b=0)
    assert suspects(judged) == {"a", "b"}


def test_a_pair_that_lost_the_internet_together_goes_on() -> None:
    judged = judge()
    lost = FORWARDING | NO_INTERNET
    play(judged, 3, a=lost)
    assert suspects(judged) == {"a"}
    play(judged, ANSWERS_TO_RETURN, a=lost, b=lost)
    assert suspects(judged) == set()
    play(judged, 1, a=lost)
    assert suspects(judged) == {"a"}, "the peer has it again"


def test_a_pair_without_link_is_refused_as_a_whole() -> None:
    judged = judge()
    play(judged, 1, a=FORWARDING | NO_LINK, b=FORWARDING | NO_LINK)
    assert suspects(judged) == {"a", "b"}


@pytest.mark.parametrize(("known", "lost", "withdrawn"), [(12, 2, 2), (12, 3, 0), (16, 3, 3), (16, 4, 0)])
def test_a_quarter_without_internet_goes_on(known: int, lost: int, withdrawn: int) -> None:
    names = [f"g{number}" for number in range(known)]
    judged = judge({name: Target(f"10.0.1.{at}", names[at ^ 1]) for at, name in enumerate(names)})
    play(judged, 1, **{names[2 * at]: FORWARDING | NO_INTERNET for at in range(lost)})
    assert len(suspects(judged)) == withdrawn


# --- coming back


def test_who_comes_back_rests_and_the_first_to_come_back_goes_before_the_next() -> None:
    judged = judge(hold_down_seconds=30)
    play(judged, 10, silent="a")
    play(judged, 10)
    assert judged.judgement().resting == ("a",)
    play(judged, 10, silent="b")
    play(judged, 10)
    assert judged.judgement().resting == ("a", "b")
    play(judged, 285)
    assert judged.judgement().resting == ("b",)
    play(judged, 20)
    assert judged.judgement() == Judgement()


def test_a_gateway_that_flaps_never_ends_its_rest() -> None:
    judged = judge(hold_down_seconds=5)
    for _ in range(20):
        play(judged, 10, silent="a")
        play(judged, 40)
        assert judged.judgement().resting == ("a",)


def test_an_agent_that_starts_anew_goes_on_with_what_was_known() -> None:
    judged = judge()
    play(judged, 5, silent="a")
    again = Judge(remembered=judged.verdicts())
    again.follow(TWO, judged.probing)
    assert suspects(again) == {"a"}
    play(again, 4)
    assert suspects(again) == {"a"}
    play(again, 1)
    assert suspects(again) == set()
    rebooted = Judge(remembered={"a": Verdict(boot="22")})
    rebooted.follow(TWO, judged.probing)
    play(rebooted)
    assert rebooted.dead() == {"a"}


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcd")), st.sampled_from([0, 1, 3, 5, 9])), max_size=120))
def test_the_dead_are_suspect_who_is_resting_isnt_and_nobody_dies_of_being_heard(
    rounds: list[tuple[set[str], int]],
) -> None:
    judged = judge(dead_after_ms=1_000)
    since_heard = dict.fromkeys(TWO, 0)
    for silent, flags in rounds:
        play(judged, 1, silent=silent, b=flags)
        for each in TWO:
            since_heard[each] = since_heard[each] + 1 if each in silent or (each == "b" and flags in {0, 9}) else 0
        before = judged.dead()
        bury(judged)
        assert all(since_heard[each] >= 3 for each in judged.dead() - before)
        said = judged.judgement()
        assert said.dead <= said.suspect
        assert not said.suspect & set(said.resting)


@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=3), max_size=60))
def test_as_long_as_somebody_is_heard_each_round_silence_of_three_is_suspect(rounds: list[set[str]]) -> None:
    judged = judge()
    missed = dict.fromkeys(TWO, 0)
    for silent in rounds:
        play(judged, 1, silent=silent)
        for each in TWO:
            missed[each] = missed[each] + 1 if each in silent else 0
        assert {each for each in TWO if missed[each] >= 3} <= suspects(judged)
