"""Which gateway of a pair is repaired, how and when."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.control.models import GatewayStatus as S
from egress.control.models_health import Finding
from egress.control.models_rollouts import Maintenance
from egress.control.repair.ladder import Limits, Member, Taken, decide, is_certain
from egress.control.repair.presence import was_away

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = Limits(
    dead=timedelta(seconds=30),
    sick=timedelta(seconds=300),
    pause=timedelta(seconds=60),
    most={Maintenance.POWER_CYCLE: 1, Maintenance.REBUILD: 2, Maintenance.REPLACE: 1},
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def member(slot: int = 0, status: S = S.READY, **fields: Any) -> Member:
    return Member(**{"id": UUID(int=slot + 1), "slot": slot, "status": status, "since": ago(9_000), **fields})


def well(slot: int = 1, **fields: Any) -> Member:
    return member(slot, **{"serves": True, **fields})


def dead(slot: int = 0, seconds: float = 60, **fields: Any) -> Member:
    since = {"finding_since": ago(seconds), "unhealthy_since": ago(seconds)}
    return member(slot, **{"finding": Finding.DEAD, **since, **fields})


def sick(slot: int = 0, seconds: float = 400, **fields: Any) -> Member:
    since = {"finding_since": ago(seconds), "unhealthy_since": ago(seconds)}
    return member(slot, **{"finding": Finding.SICK, **since, **fields})


def failed(slot: int = 0, finding: Finding = Finding.UNKNOWN, **fields: Any) -> Member:
    return member(slot, S.ERROR, **{"finding": finding, **fields})


def taken(*steps: str, last: float = 8_000) -> tuple[Taken, ...]:
    return tuple(Taken(step, ago(last + 100 * (len(steps) - number))) for number, step in enumerate(steps, 1))


def step(*pair: Member) -> Maintenance | str | None:
    repair = decide(pair, LIMITS, NOW)
    return "nothing" if repair is None else repair.step


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((well(0), well(1)), "nothing"),
        # Dead: for long enough, whatever the peer does.
        ((dead(), well()), Maintenance.POWER_CYCLE),
        ((dead(seconds=29), well()), "nothing"),
        ((dead(), dead(1)), Maintenance.POWER_CYCLE),
        ((dead(), sick(1)), Maintenance.POWER_CYCLE),
        # By the provider's word at once, but only if it is silent as well.
        ((dead(seconds=1, off=True), well()), Maintenance.POWER_CYCLE),
        ((member(finding=Finding.SILENT, off=True, unhealthy_since=ago(1)), well()), Maintenance.POWER_CYCLE),
        ((well(0, off=True), well()), "nothing"),
        # Sick: for longer, and never while the peer doesn't serve.
        ((sick(), well()), Maintenance.POWER_CYCLE),
        ((sick(seconds=299), well()), "nothing"),
        ((sick(), sick(1)), "nothing"),
        ((sick(), dead(1, seconds=1)), "nothing"),
        ((sick(finding=Finding.CUT_OFF), well()), Maintenance.POWER_CYCLE),
        ((sick(finding=Finding.SILENT), well()), Maintenance.POWER_CYCLE),
        ((sick(finding=Finding.SILENT), sick(1)), "nothing"),
        # Trouble elsewhere is nobody's repair.
        ((well(0, finding=Finding.NETWORK), well()), "nothing"),
        ((well(0, finding=Finding.UNHEARD), well()), "nothing"),
        # One at a time.
        ((dead(), member(1, S.MAINTENANCE)), "nothing"),
        ((dead(), member(1, S.BOOTING)), "nothing"),
        ((dead(), member(1, S.DRAINING)), "nothing"),
        ((dead(), failed(1, replaced=True)), "nothing"),
        # What failed: nobody hears it, or it is heard and the peer serves.
        ((failed(), sick(1)), Maintenance.POWER_CYCLE),
        ((failed(finding=Finding.WELL), well()), Maintenance.POWER_CYCLE),
        ((failed(finding=Finding.WELL), sick(1)), "nothing"),
        # Lost: no other step can help.
        ((failed(lost=True), well()), Maintenance.REPLACE),
        ((failed(lost=True), dead(1)), Maintenance.REPLACE),
    ],
)
def test_who_is_repaired(pair: tuple[Member, ...], expected: object) -> None:
    assert step(*pair) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), Maintenance.POWER_CYCLE),
        (("power_cycle",), Maintenance.REBUILD),
        (("power_cycle", "rebuild"), Maintenance.REBUILD),
        (("power_cycle", "rebuild", "rebuild"), Maintenance.REPLACE),
        (("power_cycle", "rebuild", "rebuild", "replace"), None),
        # After a replacement the new gateway has steps of its own, but no replacement left.
        (("replace",), Maintenance.POWER_CYCLE),
    ],
)
def test_the_ladder_goes_up_and_ends(steps: tuple[str, ...], expected: Maintenance | None) -> None:
    assert step(dead(taken=taken(*steps)), well()) == expected


def test_a_lost_one_whose_replacements_are_used_up_waits_for_a_person() -> None:
    assert step(failed(lost=True, taken=taken("replace")), well()) is None


@pytest.mark.parametrize(("steps", "pause"), [(1, 60), (2, 120), (3, 240)])
def test_the_pause_doubles_and_counts_from_the_end_of_the_last_step(steps: int, pause: int) -> None:
    names = ("power_cycle", "rebuild", "rebuild")[:steps]
    early = failed(since=ago(pause - 1), taken=taken(*names, last=600))
    late = failed(since=ago(pause), taken=taken(*names, last=600))
    assert step(early, well()) == "nothing"
    assert step(late, well()) != "nothing"


def test_the_pause_ends_at_last() -> None:
    many = taken(*["power_cycle"] * 60, last=3_600)
    assert step(failed(since=ago(3_600), taken=many), well()) == Maintenance.REBUILD
    assert step(failed(since=ago(3_599), taken=many), well()) == "nothing"


def test_of_two_dead_ones_the_lost_one_comes_first_then_who_had_fewer_steps() -> None:
    lost = failed(1, lost=True)
    first = decide((dead(), lost), LIMITS, NOW)
    assert first is not None
    assert first.member == lost
    tried = dead(taken=taken("power_cycle"))
    second = decide((tried, dead(1)), LIMITS, NOW)
    assert second is not None
    assert second.member.slot == 1


MEMBERS = st.builds(
    member,
    status=st.sampled_from([S.READY, S.DRAINING, S.MAINTENANCE, S.BOOTING, S.ERROR]),
    finding=st.sampled_from(list(Finding)),
    finding_since=st.sampled_from([None, ago(5), ago(100), ago(1_000)]),
    unhealthy_since=st.sampled_from([None, ago(5), ago(100), ago(1_000)]),
    off=st.booleans(),
    lost=st.booleans(),
    serves=st.booleans(),
    replaced=st.booleans(),
)


@given(first=MEMBERS, peer=MEMBERS)
def test_what_may_still_carry_something_is_touched_only_while_its_peer_serves_and_nothing_else_goes_on(
    first: Member, peer: Member
) -> None:
    pair = (first, Member(**{**{name: getattr(peer, name) for name in Member.__slots__}, "id": UUID(int=2), "slot": 1}))
    repair = decide(pair, LIMITS, NOW)
    if repair is None:
        return
    other = pair[1 - repair.member.slot]
    assert not {one.status for one in pair} & {S.DRAINING, S.MAINTENANCE, S.BOOTING}
    assert not any(one.replaced for one in pair)
    assert is_certain(repair.member, LIMITS, NOW) or other.serves


@pytest.mark.parametrize(
    ("last", "away"),
    [(None, True), (ago(5), False), (ago(30), False), (ago(31), True), (ago(-1), True), (NOW, False)],
)
def test_a_gap_between_looks_or_a_clock_set_back_means_that_we_were_away(last: datetime | None, away: bool) -> None:  # noqa: FBT001 - a parameter
    assert was_away(last, NOW, timedelta(seconds=30)) == away


@pytest.mark.parametrize(("value", "stops"), [("9", True), ("10", False), ("3600", False), ("3601", True)])
def test_a_setting_outside_its_bounds_stops_the_start(value: str, stops: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - a parameter
    from django.core.exceptions import ImproperlyConfigured

    from portal.config.settings import _bounded

    monkeypatch.setenv("EGRESS_REPAIR_DEAD_SECONDS", value)
    if not stops:
        assert _bounded("EGRESS_REPAIR_DEAD_SECONDS", 30, 10, 3_600) == int(value)
        return
    with pytest.raises(ImproperlyConfigured, match="it may be 10 to 3600"):
        _bounded("EGRESS_REPAIR_DEAD_SECONDS", 30, 10, 3_600)
