"""Hand-computed months: each figure here was worked out on paper, not by the code."""

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from billing.rating.errors import PriceMissing
from billing.rating.facts import Line, Period, SlotUse, Tariff
from billing.rating.money import to_cents
from billing.rating.rate import GIB, cap_seconds, in_hours, rate
from billing.rating.shares import share_out

H = 3600
JANUARY, FEBRUARY, APRIL = date(2026, 1, 1), date(2026, 2, 1), date(2026, 4, 1)
LEAP = date(2028, 2, 1)
STANDARD = Tariff(per_slot_hour=Decimal("0.01860119"), cap_hours=672)
CENT_AN_HOUR = Tariff(per_slot_hour=Decimal("0.01"), cap_hours=672)


def at(day: int, hour: int = 0, minute: int = 0, month: date = JANUARY) -> datetime:
    return datetime(month.year, month.month, day, hour, minute, tzinfo=UTC)


def period(begin: datetime, end: datetime, **terms: Any) -> Period:
    return Period(begin=begin, end=end, **terms)


ALL = period(at(1), at(31, 23).replace(month=2, day=1, hour=0))


def use(
    *seconds: int, tariffs: tuple[Tariff | None, ...] = (STANDARD,), number: int = 1, slot: int = 0, **more: Any
) -> SlotUse:
    given = {"traffic": [0] * len(seconds), "outage_seconds": 0, "app_name": "shop", "begin": at(1), "end": at(31)}
    ids = {"app_id": UUID(int=number), "assignment_id": UUID(int=number)}
    return SlotUse(seconds=seconds, tariffs=tariffs, slot=slot, **{**given, **ids, **more})


def cents(lines: list[Line], kind: str = "usage") -> list[int]:
    return [line.cents for line in lines if line.kind == kind]


@pytest.mark.parametrize(
    ("month", "hours", "charged_hours", "expected"),
    [
        (JANUARY, 744, 672, 1250),  # 672 x 0.01860119 = 12.49999968
        (FEBRUARY, 672, 672, 1250),  # 28 days are the cap exactly
        (LEAP, 696, 672, 1250),
        (APRIL, 720, 672, 1250),
        (JANUARY, 671, 671, 1248),  # 12.48139849
        (JANUARY, 100, 100, 186),  # 1.860119
        (JANUARY, 1, 1, 2),  # 0.01860119
        (JANUARY, 0, 0, None),
    ],
)
def test_a_slot_costs_its_hours_up_to_the_cap(
    month: date, hours: int, charged_hours: int, expected: int | None
) -> None:
    lines = rate(month, [ALL], [use(hours * H)])
    if expected is None:
        assert lines == []
        return
    [line] = lines
    assert (line.cents, line.quantity, line.unit) == (expected, hours * H, "second")
    assert line.amount == Fraction(charged_hours) * Fraction("0.01860119")


def test_the_demo_price_is_25_dollars_for_the_two_slots_of_a_month() -> None:
    lines = rate(JANUARY, [ALL], [use(744 * H, slot=0), use(744 * H, slot=1)])
    assert sum(cents(lines)) == 2500


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [("0.005", 0), ("0.015", 2), ("0.025", 2), ("0.0250000001", 3), ("-0.005", 0), ("-0.015", -2), ("-0.025", -2)],
)
def test_halves_of_a_cent_go_to_the_even_one(exact: str, rounded: int) -> None:
    assert to_cents(Fraction(exact)) == rounded


def test_each_line_is_rounded_alone_and_once() -> None:
    # 30 minutes at 0.01 an hour are half a cent: 0 to the even cent, however many such lines there are.
    lines = rate(JANUARY, [ALL], [use(1800, tariffs=(CENT_AN_HOUR,), number=n) for n in (1, 2, 3)])
    assert cents(lines) == [0, 0, 0]
    assert sum(line.amount for line in lines) == Fraction("0.015")


def test_an_outage_lowers_the_cap_by_its_share_of_the_month() -> None:
    # 74.4 h of January's 744 are a tenth: the cap falls from 672 h to 604.8 h.
    out = 74 * H + 24 * 60
    assert cap_seconds(JANUARY, STANDARD, out) == 604 * H + 48 * 60
    [line] = rate(JANUARY, [ALL], [use(744 * H - out, tariffs=(CENT_AN_HOUR,), outage_seconds=out)])
    assert line.amount == Fraction("6.048")
    assert line.cents == 605


def test_an_outage_in_a_february_costs_just_its_own_time() -> None:
    # 10 h out: 662 h used, cap 672 x 662/672 = 662 h.
    [line] = rate(FEBRUARY, [ALL], [use(662 * H, tariffs=(CENT_AN_HOUR,), outage_seconds=10 * H)])
    assert line.cents == 662


def test_a_month_of_nothing_but_outage_costs_nothing() -> None:
    assert rate(JANUARY, [ALL], [use(0, outage_seconds=744 * H)]) == []


def test_a_price_that_changes_counts_for_each_second_in_which_it_is_in_force() -> None:
    # 15 Jan, 10:20. Used on that day from 9:00 to 12:00: 80 min at 0.06 and 100 min at 0.09 an hour.
    change = at(15, 10, 20)
    old, new = (
        Tariff(per_slot_hour=Decimal("0.06"), cap_hours=672),
        Tariff(per_slot_hour=Decimal("0.09"), cap_hours=672),
    )
    periods = [period(ALL.begin, change), period(change, ALL.end)]
    [line] = rate(JANUARY, periods, [use(80 * 60, 100 * 60, tariffs=(old, new))])
    assert line.amount == Fraction("0.08") + Fraction("0.15")
    assert line.cents == 23
    assert [part["charged_seconds"] for part in line.detail["parts"]] == [4800, 6000]


def test_the_cap_goes_on_through_a_price_change() -> None:
    # 400 h at 0.01, then 344 h at 0.02, of which 272 are under the cap of 672.
    dear = Tariff(per_slot_hour=Decimal("0.02"), cap_hours=672)
    periods = [period(ALL.begin, at(17, 16)), period(at(17, 16), ALL.end)]
    [line] = rate(JANUARY, periods, [use(400 * H, 344 * H, tariffs=(CENT_AN_HOUR, dear))])
    assert line.cents == 400 + 544


def test_a_cap_that_falls_takes_nothing_back() -> None:
    # 400 h are charged when the cap falls to 300: no more is, and none is given back. Then it rises to 500: 100 more.
    low = Tariff(per_slot_hour=Decimal("0.01"), cap_hours=300)
    high = Tariff(per_slot_hour=Decimal("0.01"), cap_hours=500)
    periods = [period(ALL.begin, at(17, 16)), period(at(17, 16), at(20)), period(at(20), ALL.end)]
    [line] = rate(JANUARY, periods, [use(400 * H, 56 * H, 288 * H, tariffs=(CENT_AN_HOUR, low, high))])
    assert line.cents == 500


def test_free_hours_are_the_first_ones_of_the_team_and_come_off_what_the_cap_leaves() -> None:
    # 1,000 h free: 672 of the first slot, 328 of the second, of which 344 are left.
    free = period(ALL.begin, ALL.end, free_seconds=1000 * H)
    lines = rate(JANUARY, [free], [use(744 * H, tariffs=(CENT_AN_HOUR,), slot=slot) for slot in (0, 1)])
    assert cents(lines) == [0, 344]
    assert [line.quantity for line in lines] == [744 * H, 744 * H]


def test_a_discount_is_one_line_off_the_rounded_ones() -> None:
    # 12.50 + 12.50, 15 % of it: 3.75.
    agreed = period(ALL.begin, ALL.end, discount_percent=Decimal(15))
    lines = rate(JANUARY, [agreed], [use(744 * H, slot=0), use(744 * H, slot=1)])
    assert cents(lines, "discount") == [-375]
    assert lines[-1].description == "Discount of 15 %"


def test_a_discount_of_everything_leaves_nothing() -> None:
    agreed = period(ALL.begin, ALL.end, discount_percent=Decimal(100))
    lines = rate(JANUARY, [agreed], [use(1800 + n, tariffs=(CENT_AN_HOUR,), number=n) for n in range(1, 100)])
    assert sum(line.cents for line in lines) == 0


def test_a_discount_agreed_in_mid_month_counts_from_there_on() -> None:
    # 10.00 in all: 4.00 before, 6.00 after; 10 % of the latter.
    turn = at(17, 16)
    periods = [period(ALL.begin, turn), period(turn, ALL.end, discount_percent=Decimal(10))]
    tariff = Tariff(per_slot_hour=Decimal("0.02"), cap_hours=744)
    lines = rate(JANUARY, periods, [use(200 * H, 300 * H, tariffs=(tariff, tariff))])
    assert (cents(lines), cents(lines, "discount")) == ([1000], [-60])
    assert lines[-1].description == "Discount of 0 %, then 10 %"


def test_traffic_is_charged_beyond_what_the_month_includes() -> None:
    # 10 GiB included, 0.01 a GiB; 25.5 GiB sent: 15.5 GiB are 0.155, to the even cent 0.16.
    tariff = Tariff(per_slot_hour=Decimal("0.01"), cap_hours=672, per_gib=Decimal("0.01"), included_gib=10)
    lines = rate(JANUARY, [ALL], [use(H, tariffs=(tariff,), traffic=[25 * GIB + GIB // 2])])
    [line] = [line for line in lines if line.kind == "traffic"]
    assert line.amount == Fraction("0.155")
    assert (line.cents, line.quantity, line.unit) == (16, 25 * GIB + GIB // 2, "byte")
    assert "15.500 GiB" in line.description


def test_included_traffic_goes_on_through_a_price_change() -> None:
    # 6 GiB, then 6: with 10 included, 2 of the second are charged at its price.
    one = Tariff(per_slot_hour=Decimal(0), cap_hours=672, per_gib=Decimal(1), included_gib=10)
    two = Tariff(per_slot_hour=Decimal(0), cap_hours=672, per_gib=Decimal(2), included_gib=10)
    periods = [period(ALL.begin, at(17)), period(at(17), ALL.end)]
    lines = rate(JANUARY, periods, [use(0, 0, tariffs=(one, two), traffic=[6 * GIB, 6 * GIB])])
    assert [line.cents for line in lines] == [400]


def test_traffic_within_what_is_included_is_no_line() -> None:
    tariff = Tariff(per_slot_hour=Decimal("0.01"), cap_hours=672, per_gib=Decimal("0.01"), included_gib=10)
    assert [line.kind for line in rate(JANUARY, [ALL], [use(H, tariffs=(tariff,), traffic=[10 * GIB])])] == ["usage"]


def test_what_was_used_without_a_price_is_an_error_that_names_app_and_time() -> None:
    with pytest.raises(PriceMissing, match="shop used a gateway between 2026-01-01"):
        rate(JANUARY, [ALL], [use(1, tariffs=(None,))])


def test_a_time_without_a_price_does_no_harm_while_nothing_is_used() -> None:
    periods = [period(ALL.begin, at(17)), period(at(17), ALL.end)]
    assert cents(rate(JANUARY, periods, [use(0, 100 * H, tariffs=(None, CENT_AN_HOUR))])) == [100]


@pytest.mark.parametrize(
    ("whole", "weights", "shares"),
    [
        (3600, [1200, 2400], [1200, 2400]),
        (100, [1, 1, 1], [33, 33, 34]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (5, [0, 0], [0, 5]),
        (7, [0, 3, 0], [0, 7, 0]),
    ],
)
def test_shares_add_up(whole: int, weights: list[int], shares: list[int]) -> None:
    assert share_out(whole, weights) == shares


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 h"), (59, "0 h 59 s"), (3600, "1 h"), (2418903, "671 h 55 min 3 s")]
)
def test_seconds_are_written_as_people_do(seconds: int, words: str) -> None:
    assert in_hours(seconds) == words
