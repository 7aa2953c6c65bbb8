"""Spreading money, and the texts that it becomes."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.exports.cells import csv_row, money, plain, safe, stamp
from billing.exports.spread import PER_CENT, spread

weights = st.lists(st.integers(0, 3600), min_size=1, max_size=744).filter(any)
amounts = st.integers(-(10**9), 10**9).map(lambda cents: cents * PER_CENT)


@given(amounts, weights)
def test_shares_add_up_to_the_amount_exactly(amount: int, weights: list[int]) -> None:
    assert sum(spread(amount, weights)) == amount


@given(amounts, weights)
def test_each_share_is_less_than_one_from_the_exact_one(amount: int, weights: list[int]) -> None:
    for share, weight in zip(spread(amount, weights), weights, strict=True):
        assert abs(share * sum(weights) - amount * weight) < sum(weights)


@given(amounts, weights)
def test_without_weight_there_is_no_share(amount: int, weights: list[int]) -> None:
    assert all(share == 0 for share, weight in zip(spread(amount, weights), weights, strict=True) if not weight)


@given(amounts, weights, st.integers(1, 48))
def test_whatever_is_put_together_has_the_sum_of_its_parts(amount: int, weights: list[int], size: int) -> None:
    parts = list(spread(amount, weights))
    groups = range(0, len(weights), size)

    together = list(spread(amount, [sum(weights[start : start + size]) for start in groups]))

    assert together == [sum(parts[start : start + size]) for start in groups]


def test_equal_hours_of_an_odd_amount() -> None:
    assert list(accumulate(spread(100, [1, 1, 1]))) == [33, 66, 100]


@given(st.integers(-(10**15), 10**15))
def test_money_is_exact(amount: int) -> None:
    assert Decimal(money(amount)) * 1_000_000 == amount


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0.000000"), (-1, "-0.000001"), (12_500_000, "12.500000"), (-10_000, "-0.010000")]
)
def test_money_reads_well(amount: int, text: str) -> None:
    assert money(amount) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [("0E-8", "0.0"), ("1.500000", "1.5"), ("24", "24.0"), ("0.01860119", "0.01860119"), ("1E+3", "1000.0")],
)
def test_decimals_have_no_exponent(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@A1", "\t1", "\r1", "\n1", "\uff1d1", "\uff0b1"])
def test_what_could_be_a_formula_is_shown_instead(text: str) -> None:
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "shop-api", "1-2", "'=1", "a=b", "é"])
def test_other_text_stays(text: str) -> None:
    assert safe(text) == text


def test_csv_is_quoted_as_rfc_4180_says() -> None:
    assert csv_row(['say "no"', "a,b", None, "two\nlines", ""]) == '"say ""no""","a,b",,"two\nlines",\r\n'


def test_times_are_utc_to_the_second() -> None:
    assert stamp(datetime(2026, 10, 5, 7, 0, 1, 999, tzinfo=UTC)) == "2026-10-05T07:00:01Z"
