from typing import Any

import pytest

from egress.lab.cloud import faults as module
from egress.lab.cloud.faults import Faults


def test_a_fault_strikes_its_operation_as_often_as_it_was_told() -> None:
    faults = Faults()
    faults.inject("slow", "create", 2, delay_seconds=3)

    assert faults.take("list") is None
    struck = [faults.take("create") for _ in range(3)]

    assert [fault and (fault.kind, fault.delay_seconds) for fault in struck] == [("slow", 3), ("slow", 3), None]


def test_faults_strike_in_the_order_of_their_injection() -> None:
    faults = Faults()
    faults.inject("dropped", "create")
    faults.inject("rate_limited")
    faults.inject("no_capacity", "create")

    struck = [faults.take(operation) for operation in ("list", "create", "create", "create")]

    assert [fault and fault.kind for fault in struck] == ["rate_limited", "dropped", "no_capacity", None]


def test_bad_placement_strikes_creations_only() -> None:
    faults = Faults()
    faults.inject("same_host")

    assert faults.take("list") is None
    assert faults.waiting() == [{"kind": "same_host", "operation": "*", "left": 1}]
    with pytest.raises(ValueError, match="operation"):
        faults.inject("same_host", "list")


def test_two_faults_of_a_kind_are_used_up_one_after_the_other() -> None:
    faults = Faults()
    faults.inject("slow", delay_seconds=1)
    faults.inject("slow", delay_seconds=1)
    faults.take("get")

    assert faults.waiting() == [{"kind": "slow", "operation": "*", "left": 1}]


@pytest.mark.parametrize("kind", ["late", "slow_work", "dead_boot"])
def test_what_strikes_only_beginnings_lets_other_requests_pass(kind: str) -> None:
    faults = Faults()
    faults.inject(kind, count=2)

    struck = [faults.take(operation) for operation in ("list", "create", "get", "delete", "action", "create")]

    assert [fault and fault.kind for fault in struck] == [None, kind, None, None, kind, None]


def test_a_deletion_can_be_stuck_as_well() -> None:
    faults = Faults()
    faults.inject("stuck", count=3)

    struck = [faults.take(operation) for operation in ("list", "create", "get", "delete", "action", "delete")]

    assert [fault and fault.kind for fault in struck] == [None, "stuck", None, "stuck", "stuck", None]


def test_faults_can_be_cleared() -> None:
    faults = Faults()
    faults.inject("slow", count=9)
    faults.clear()

    assert faults.take("get") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "explode"},
        {"kind": "slow", "operation": "everything"},
        {"kind": "slow", "count": 0},
        {"kind": "slow", "count": 1_001},
        {"kind": "slow", "delay_seconds": -1},
        {"kind": "slow", "delay_seconds": float("nan")},
        {"kind": "rate_limited", "retry_after_seconds": 10_000},
        {"kind": "failed_before", "status": 404},
        {"kind": "stuck", "operation": "list"},
    ],
)
def test_a_wrong_fault_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Faults().inject(**wrong)


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FAULTS", 1)
    faults = Faults()
    faults.inject("slow")

    with pytest.raises(ValueError, match="clear"):
        faults.inject("slow")
