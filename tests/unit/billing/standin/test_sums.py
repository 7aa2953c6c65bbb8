from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.standin.sums import MINIMUM_CHARGE_CENTS, TAX_PERCENT, due, percent_of, totals, without_tax

#: Tests never depend on speed.
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
CENTS = st.integers(-99_999_999, 99_999_999)


@QUICK
@given(st.lists(CENTS, max_size=30), st.sampled_from([Decimal(0), *TAX_PERCENT.values()]))
def test_an_invoice_adds_up(amounts: list[int], percent: Decimal) -> None:
    sums = totals(amounts, percent)
    assert sums.subtotal == sum(amounts)
    assert sums.tax == sum(sums.taxes)
    assert sums.total == sums.subtotal + sums.tax
    for amount, tax in zip(amounts, sums.taxes, strict=True):
        assert abs(Fraction(amount) * Fraction(percent) / 100 - tax) <= Fraction(1, 2)


@pytest.mark.parametrize(("amount", "tax"), [(50, 10), (2, 0), (3, 1), (5, 1), (-3, -1), (0, 0)])
def test_tax_is_rounded_at_each_line(amount: int, tax: int) -> None:
    assert totals([amount], Decimal(20)).taxes == (tax,)


@pytest.mark.parametrize(("amount", "tax"), [(10, 0), (30, 2), (50, 2), (70, 4), (-10, 0), (-30, -2)])
def test_half_a_cent_goes_to_the_even_one(amount: int, tax: int) -> None:
    assert totals([amount], Decimal(5)).taxes == (tax,)


@QUICK
@given(CENTS, CENTS)
def test_what_is_not_asked_for_stays_on_the_balance(total: int, balance: int) -> None:
    asked, after = due(total, balance)
    assert asked + after == total + balance
    assert asked == 0 or asked >= MINIMUM_CHARGE_CENTS
    assert after == 0 or after < MINIMUM_CHARGE_CENTS


@pytest.mark.parametrize(
    ("total", "balance", "asked", "after"),
    [
        (1000, 0, 1000, 0),
        (1000, -300, 700, 0),
        (1000, -1000, 0, 0),
        (300, -1000, 0, -700),
        (30, 0, 0, 30),
        (30, 30, 60, 0),
    ],
)
def test_credit_is_used_and_small_change_carried_over(total: int, balance: int, asked: int, after: int) -> None:
    assert due(total, balance) == (asked, after)


def test_only_who_is_not_exempt_pays_tax() -> None:
    assert percent_of("DE", "none") == 19
    assert (
        percent_of("DE", "reverse")
        == percent_of("DE", "exempt")
        == percent_of("US", "none")
        == percent_of(None, "none")
        == 0
    )


@QUICK
@given(st.integers(0, 99_999_999))
def test_a_credit_without_tax_is_all_subtotal(amount: int) -> None:
    assert without_tax(amount, 500, 500) == amount


def test_a_credit_of_the_whole_is_the_whole_subtotal() -> None:
    assert without_tax(11_900, 10_000, 11_900) == 10_000
    assert without_tax(100, 0, 0) == 100
