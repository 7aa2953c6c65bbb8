"""What holds for all months, prices and terms; and that a naive model, which shares no line of code, agrees."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating import months
from billing.rating.facts import Line, Period, SlotUse, Tariff
from billing.rating.rate import charged_seconds, free_seconds, rate
from billing.rating.settle import InHand, Said, corrections, drawn
from billing.rating.shares import share_out
from tests.unit.billing.rating import naive
from tests.unit.billing.rating.naive import TICK, Slot, Terms

MONTHS = st.sampled_from([date(2026, 1, 1), date(2026, 2, 1), date(2026, 4, 1), date(2028, 2, 1)])
AMOUNTS = st.decimals(0, 5, places=8)
PERCENTS = st.decimals(0, 100, places=2)
NaiveMonth = tuple[date, list[naive.Price], list[Terms], list[Slot]]
#: Runs of ticks in use: how long off, how long on, and how much of a tick.
RUNS = st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 3000), st.sampled_from([1, 450, 899, 900])), max_size=3)


@st.composite
def naive_months(draw: st.DrawFn) -> NaiveMonth:
    month = draw(MONTHS)
    ticks = months.seconds_of(month) // TICK
    prices = [
        naive.Price(since, cluster, draw(AMOUNTS), draw(st.integers(0, 744)))
        for cluster in (0, 1)
        for since in sorted({0, *draw(st.lists(st.integers(1, ticks - 1), max_size=2))})
    ]
    agreed = sorted(draw(st.sets(st.integers(0, ticks - 1), max_size=2)))
    terms = [Terms(since, draw(PERCENTS), draw(st.integers(0, 1500))) for since in agreed]
    slots = []
    for _ in range(draw(st.integers(1, 2))):
        used = [0] * ticks
        at = 0
        for off, on, seconds in draw(RUNS):
            used[at + off : at + off + on] = [seconds] * len(used[at + off : at + off + on])
            at += off + on
        outage = draw(st.integers(0, months.seconds_of(month) - sum(used)))
        cluster = draw(st.integers(0, 1))
        slots += [Slot(cluster, used, outage)] * 2
    return month, prices, terms, slots


def facts(
    month: date, prices: list[naive.Price], terms: list[Terms], slots: list[Slot]
) -> tuple[list[Period], list[SlotUse]]:
    """Say the same in rating's own words."""
    begin, ticks = months.begin_of(month), months.seconds_of(month) // TICK
    turns = [*sorted({0, *(row.since for row in (*prices, *terms))}), ticks]
    spans = list(pairwise(turns))
    periods = []
    for since, until in spans:
        agreed = [row for row in terms if row.since <= since]
        given = {"discount_percent": agreed[-1].percent, "free_seconds": agreed[-1].free_hours * 3600} if agreed else {}
        end = begin + timedelta(seconds=until * TICK)
        periods.append(Period(begin=begin + timedelta(seconds=since * TICK), end=end, **given))
    uses = []
    for number, slot in enumerate(slots):
        rows = [[row for row in prices if row.cluster == slot.cluster and row.since <= since][-1] for since, _ in spans]
        uses.append(
            SlotUse(
                app_id=UUID(int=1), app_name="app", assignment_id=UUID(int=number // 2 + 1), slot=number % 2,
                tariffs=[Tariff(per_slot_hour=row.per_hour, cap_hours=row.cap_hours) for row in rows],
                seconds=[sum(slot.used[since:until]) for since, until in spans], traffic=[0] * len(spans),
                outage_seconds=slot.outage, begin=begin, end=months.end_of(month),
            )
        )  # fmt: skip
    return periods, uses


def total(lines: list[Line]) -> int:
    return sum(line.cents for line in lines)


@settings(max_examples=60, deadline=None)
@given(naive_months())
def test_a_naive_model_agrees_to_the_cent(
    given_month: NaiveMonth,
) -> None:
    month, prices, terms, slots = given_month
    periods, uses = facts(*given_month)
    lines = rate(month, periods, uses)
    by_slot = {(line.assignment_id, line.slot): line.cents for line in lines if line.kind == "usage"}
    expected = naive.line_cents(months.seconds_of(month), prices, terms, slots)
    assert [by_slot.get((use.assignment_id, use.slot), 0) for use in uses] == expected
    percents = {period.discount_percent for period in periods}
    if len(percents) == 1:
        off = sum(line.cents for line in lines if line.kind == "discount")
        assert -off == naive.percent_off(sum(expected), percents.pop())


@settings(max_examples=60, deadline=None)
@given(naive_months(), st.data())
def test_caps_free_hours_and_time(given_month: NaiveMonth, data: st.DataObject) -> None:
    month = given_month[0]
    periods, uses = facts(*given_month)
    charged = [charged_seconds(month, use) for use in uses]
    for use, seconds in zip(uses, charged, strict=True):
        assert all(0 <= part <= used for part, used in zip(seconds, use.seconds, strict=True))
        assert sum(seconds) <= max(tariff.cap_hours for tariff in use.tariffs if tariff) * 3600
    free = free_seconds(periods, charged)
    assert sum(map(sum, free)) <= max(period.free_seconds for period in periods)
    assert all(
        part <= paid
        for gratis, seconds in zip(free, charged, strict=True)
        for part, paid in zip(gratis, seconds, strict=True)
    )
    lines = rate(month, periods, uses)
    assert total(lines) >= 0
    assert sum(line.quantity for line in lines) == sum(sum(use.seconds) for use in uses)
    # As time goes on, each part of a month is used up to some point, and no further ones are: it never gets cheaper,
    # but for what one rounding of the discount may do.
    earlier = [
        replace(use, seconds=_until(use.seconds, data.draw(st.integers(0, len(periods) - 1)))) for use in uses[:1]
    ]
    assert total([*rate(month, _undiscounted(periods), [*earlier, *uses[1:]])]) <= total(
        rate(month, _undiscounted(periods), uses)
    )


def _until(seconds: object, number: int) -> list[int]:
    assert isinstance(seconds, list)
    return [*seconds[:number], seconds[number] // 2, *([0] * (len(seconds) - number - 1))]


def _undiscounted(periods: list[Period]) -> list[Period]:
    return [replace(period, discount_percent=Decimal(0)) for period in periods]


@settings(max_examples=60, deadline=None)
@given(naive_months())
def test_a_discount_of_everything_leaves_nothing_in_any_month(
    given_month: NaiveMonth,
) -> None:
    periods, uses = facts(*given_month)
    lines = rate(given_month[0], [replace(period, discount_percent=Decimal(100)) for period in periods], uses)
    assert total(lines) == 0


@settings(max_examples=60, deadline=None)
@given(naive_months(), st.integers(0, 3))
def test_what_was_said_and_its_corrections_are_what_is_due(given_month: NaiveMonth, halved: int) -> None:
    month = given_month[0]
    periods, uses = facts(*given_month)
    first = [replace(use, seconds=[part // (halved + 1) for part in use.seconds]) for use in uses]
    said = {line.key: Said(line.quantity, Decimal(0), line.cents) for line in rate(month, periods, first)}
    due = rate(month, periods, uses)
    fixed = corrections(month, due, said)
    assert sum(each.cents for each in said.values()) + total(fixed) == total(due)
    both = dict(said)
    for line in fixed:
        before = both.get(line.key, Said(0, Decimal(0), 0))
        both[line.key] = Said(before.quantity + line.quantity, Decimal(0), before.cents + line.cents)
    assert corrections(month, due, both) == []


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), max_size=5))
def test_credits_pay_what_they_can_and_no_more(cents: int, left: list[int]) -> None:
    lines = drawn(date(2026, 1, 1), cents, [InHand(n, amount, "sorry") for n, amount in enumerate(left)], "USD")
    assert -total(lines) == min(cents, sum(left))
    assert all(-line.cents <= left[line.credit_id or 0] for line in lines)
    used = [line.credit_id for line in lines]
    assert used == list(range(len(used)))


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_shares_add_up_and_are_fair(whole: int, weights: list[int]) -> None:
    shares = share_out(whole, weights)
    assert sum(shares) == whole
    if any(weights):
        exact = [whole * weight / sum(weights) for weight in weights]
        assert all(abs(share - each) <= 1.001 for share, each in zip(shares, exact, strict=True))
