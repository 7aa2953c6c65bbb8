from typing import Any

import pytest

from billing.standin.faults import MAX_FAULTS, Faults

OPERATIONS = {"invoices.pay", "invoices.create"}


@pytest.fixture
def faults() -> Faults:
    return Faults()


def test_a_fault_strikes_as_often_as_it_says(faults: Faults) -> None:
    faults.inject({"kind": "failed", "operation": "invoices.pay", "left": 2}, OPERATIONS)
    assert faults.take("invoices.create", ()) is None
    assert [faults.take("invoices.pay", ()) is not None for _ in range(3)] == [True, True, False]


def test_requests_may_pass_before(faults: Faults) -> None:
    faults.inject({"kind": "failed", "skip": 2}, OPERATIONS)
    assert [faults.take("invoices.pay", ()) is not None for _ in range(4)] == [False, False, True, False]


def test_a_fault_without_number_strikes_until_cleared(faults: Faults) -> None:
    faults.inject({"kind": "rate_limited", "left": 0}, OPERATIONS)
    assert all(faults.take("invoices.pay", ()) for _ in range(100))
    faults.clear()
    assert faults.take("invoices.pay", ()) is None


def test_a_fault_may_concern_one_customer(faults: Faults) -> None:
    faults.inject({"kind": "refused", "customer": "cus_1", "left": 0}, OPERATIONS)
    assert faults.take("invoices.create", {"cus_2"}) is None
    assert faults.take("invoices.create", {"cus_1", "x"}) is not None


def test_declines_strike_charges_and_not_requests(faults: Faults) -> None:
    faults.inject({"kind": "declined", "code": "lost_card"}, OPERATIONS)
    assert faults.take("invoices.pay", ()) is None
    assert [faults.declines("cus_1") for _ in range(2)] == ["lost_card", ""]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"kind": "strange"},
        {"kind": "failed", "operation": "prices.list"},
        {"kind": "failed", "status": 200},
        {"kind": "slow", "delay_seconds": 601},
        {"kind": "slow", "wait": 1},
        {"kind": "slow", "left": -1},
    ],
)
def test_what_is_no_fault_is_refused(faults: Faults, wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        faults.inject(wanted, OPERATIONS)
    assert faults.show() == []


def test_faults_are_bounded(faults: Faults) -> None:
    for _ in range(MAX_FAULTS):
        faults.inject({"kind": "slow"}, OPERATIONS)
    with pytest.raises(ValueError, match="clear"):
        faults.inject({"kind": "slow"}, OPERATIONS)
