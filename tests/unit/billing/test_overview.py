"""The days of an amount, and the scale of the chart that shows them."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.overview.days import chargeable_by_day, shared_out
from billing.overview.month import DayCost
from billing.words import hours, money
from portal.web.billing_chart import TOP, draw, in_words, scale

amounts = st.integers(min_value=-(10**9), max_value=10**9)
weights = st.lists(st.integers(min_value=0, max_value=86_400), max_size=31)


@given(amounts, weights.filter(any))
def test_shares_add_up_and_none_is_further_than_one_from_the_exact(amount: int, parts: list[int]) -> None:
    shares = shared_out(amount, parts)
    assert sum(shares) == amount
    assert all(abs(share - amount * part / sum(parts)) <= 1 for share, part in zip(shares, parts, strict=True))


def test_an_amount_without_weight_is_shared_with_nobody() -> None:
    assert shared_out(100, [0, 0]) == [0, 0]


@given(weights, st.integers(0, 10**6), st.integers(0, 10**7))
def test_a_day_is_charged_for_no_more_than_its_seconds(used: list[int], free: int, charged: int) -> None:
    paid = chargeable_by_day(used, free, charged)
    assert sum(paid) == min(max(sum(used) - free, 0), charged)
    assert all(share <= seconds for share, seconds in zip(paid, used, strict=False))


def test_the_first_seconds_are_free_and_those_past_the_cap_too() -> None:
    assert chargeable_by_day([10, 10, 10, 10], free=5, charged=20) == [5, 10, 5, 0]


@pytest.mark.parametrize(
    ("highest", "lines"),
    [
        (0, [0, 1]),
        (3, [0, 1, 2, 3]),
        (179, [0, 50, 100, 150, 200]),
        (250_00, [0, 100_00, 200_00, 300_00]),
        (401, [0, 200, 400, 600]),
    ],
)
def test_the_scale_has_few_round_steps_and_reaches_the_highest(highest: int, lines: list[int]) -> None:
    assert scale(highest) == lines


def days(*cents: int) -> list[DayCost]:
    return [DayCost(day=date(2026, 7, n), seconds=0, cents=each) for n, each in enumerate(cents, 1)]


@given(st.lists(st.integers(0, 10**7), min_size=28, max_size=31))
def test_bars_stay_inside_the_drawing(cents: list[int]) -> None:
    chart = draw(days(*cents), "USD", width=672, height=208, every=5)
    for bar in chart.bars:
        assert chart.left <= bar.x <= bar.x + bar.width <= chart.width
        assert TOP - 0.1 <= bar.y <= chart.floor
        assert bar.y + bar.height <= chart.floor + 0.1


@pytest.mark.parametrize(
    ("cents", "words"),
    [
        ((), "nothing was charged yet"),
        ((0, 0), "nothing was charged yet"),
        ((5, 0, 12), "$0.17 on 2 days, most on 3 July with $0.12"),
    ],
)
def test_the_chart_says_what_it_shows(cents: Any, words: str) -> None:
    assert words in in_words(days(*cents), "USD")


def test_amounts_and_times_as_people_write_them() -> None:
    assert [money(cents, "USD") for cents in (0, 5, -300, 123_456_78)] == ["$0.00", "$0.05", "−$3.00", "$123,456.78"]  # noqa: RUF001
    assert money(1200, "CHF") == "CHF 12.00"
    assert [hours(seconds) for seconds in (0, 59, 3600, 2_419_143)] == ["0 h", "59 s", "1 h", "671 h 59 min 3 s"]
