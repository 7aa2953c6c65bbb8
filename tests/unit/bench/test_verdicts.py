"""The limits of `./dev bench --only reliability`, on made-up figures."""

from typing import Any

from tests.bench.reliability import BEYOND, DEATHS, HARMLESS, LINK_LOST, verdicts


def summary(value: float) -> dict[str, float]:
    return {"median": value, "min": value, "max": value}


def fault(gap: float, **more: Any) -> dict[str, Any]:
    return {
        "times": 1,
        "gap_s": summary(gap),
        "no_way": 0,
        "resets": 0,
        "reset_s": None,
        "reset_after_dead_s": None,
        "udp_silence_s": summary(0.1),
        "leaks": 0,
        "hung": 0,
        **more,
    }


def figures(**more: Any) -> dict[str, Any]:
    dead = {"resets": 2, "reset_s": summary(2.4), "reset_after_dead_s": summary(0.1), "udp_silence_s": summary(2.2)}
    faults = {kind: fault(0.35, **dead) for kind in DEATHS} | {kind: fault(0.7) for kind in (*LINK_LOST, BEYOND)}
    faults |= {kind: fault(0.3) for kind in HARMLESS}
    calm = {"false_pivots": 0, "resets": 0}
    roll = {"failed_requests": 0, "cut_connections": 0, "leaks": 0, "status": "done"}
    other = {"gap_s": {"power off": summary(0.35)}}
    return {"faults": faults, "calm": calm, "roll": roll, "keepalived": other, **more}


def missed(found: dict[str, Any]) -> list[str]:
    return [name for name, result in verdicts(found).items() if not result["kept"]]


def test_what_was_promised_is_kept() -> None:
    assert missed(figures()) == []
    assert verdicts(figures())["power off: gap / keepalived's at 0.1 s"]["value"] == 1


def test_every_promise_can_be_missed() -> None:
    bad = figures(
        calm={"false_pivots": 1, "resets": 1},
        roll={"failed_requests": 1, "cut_connections": 1, "leaks": 1, "status": "stopped"},
    )
    late = {"reset_s": summary(3.1), "reset_after_dead_s": summary(0.21), "udp_silence_s": summary(3.1)}
    for kind in DEATHS:
        bad["faults"][kind] = fault(0.75, leaks=1, hung=1, **late)
    for kind in (*LINK_LOST, *HARMLESS):
        bad["faults"][kind] = fault(1.1, resets=1)
    bad["faults"][BEYOND] = fault(5.1)
    kept = [name for name, result in verdicts(bad).items() if result["kept"]]
    assert kept == ["power off: gap / keepalived's at 0.1 s"]


def test_a_gap_without_an_end_keeps_no_limit() -> None:
    bad = figures()
    bad["faults"]["hang"]["no_way"] = 1
    assert missed(bad) == ["hang: gap, median, s", "hang: gap, worst, s"]


def test_what_was_not_taken_is_left_out() -> None:
    assert verdicts({}) == {}
    without = figures(keepalived={"missing": "not here"})
    assert not any("keepalived" in name for name in verdicts(without))
