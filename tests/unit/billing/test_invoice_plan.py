from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.collecting.plan import (
    MAX_ITEMS,
    Add,
    Create,
    Describe,
    Finalize,
    Follow,
    Item,
    Step,
    Stop,
    Wanted,
    items_of,
    next_step,
)
from billing.collecting.seen import SeenInvoice, SeenItem

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
STATEMENT = uuid4()


@dataclass
class MadeLine:
    cents: int
    description: str = "app, gateway A"
    id: UUID = field(default_factory=uuid4)
    begin: datetime = BEGIN
    end: datetime = BEGIN + timedelta(days=31)


def wanted_of(*cents: int) -> Wanted:
    items = items_of(STATEMENT, map(MadeLine, cents), taxed=False)
    return Wanted(statement=str(STATEMENT), currency="USD", total_cents=sum(cents), items=items, described="words")


def draft(wanted: Wanted, items: list[SeenItem], **fields: object) -> SeenInvoice:
    seen = SeenInvoice(
        id="in_1",
        statement=wanted.statement,
        status="draft",
        currency="USD",
        net_cents=sum(item.cents for item in items),
    )
    return replace(seen, **fields)  # type: ignore[arg-type]


def all_there(wanted: Wanted) -> list[SeenItem]:
    return [SeenItem(item.key, item.cents) for item in wanted.items]


def code_of(step: Step) -> str:
    assert isinstance(step, Stop), step
    return step.code


def test_without_an_invoice_one_is_made() -> None:
    assert next_step(wanted_of(100), None, []) == Create()


def test_a_draft_gets_the_items_that_it_lacks_and_no_others() -> None:
    wanted = wanted_of(100, 250, -50)
    there = all_there(wanted)[:1]
    assert next_step(wanted, draft(wanted, there), there) == Add(wanted.items[1:])


def test_a_whole_draft_is_described_and_then_finalized() -> None:
    wanted = wanted_of(100, 250)
    there = all_there(wanted)
    assert next_step(wanted, draft(wanted, there), there) == Describe()
    assert next_step(wanted, draft(wanted, there, described="other words"), there) == Describe()
    assert next_step(wanted, draft(wanted, there, described="words"), there) == Finalize()


@pytest.mark.parametrize("status", ["open", "paid", "uncollectible", "void"])
def test_what_is_finalized_is_only_followed(status: str) -> None:
    wanted = wanted_of(100)
    assert next_step(wanted, draft(wanted, all_there(wanted), status=status), []) == Follow()


@pytest.mark.parametrize("status", ["draft", "open", "paid"])
def test_another_total_than_the_statements_stops(status: str) -> None:
    wanted = wanted_of(100)
    seen = draft(wanted, all_there(wanted), status=status, net_cents=99, described="words")
    assert code_of(next_step(wanted, seen, all_there(wanted))) == "total_differs"


@pytest.mark.parametrize("twisted", ["stranger", "twice", "cents"])
def test_a_draft_with_items_that_differ_stops(twisted: str) -> None:
    wanted = wanted_of(100, 250)
    there = all_there(wanted)
    more = {"stranger": SeenItem("", 0), "twice": there[0], "cents": SeenItem(there[0].key, 101)}[twisted]
    assert code_of(next_step(wanted, draft(wanted, there), [*there[1:], more, *there[:1]])) == "items_differ"


def test_an_invoice_that_was_made_from_another_statement_of_the_month_stops() -> None:
    wanted = wanted_of(100)
    there = all_there(wanted)
    assert code_of(next_step(wanted, draft(wanted, there, statement="another"), there)) == "other_statement"
    assert code_of(next_step(wanted, draft(wanted, there, currency="EUR"), there)) == "other_statement"


@given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=30), st.data())
def test_from_any_part_of_a_draft_it_ends_in_exactly_the_items(cents: list[int], data: st.DataObject) -> None:
    wanted = wanted_of(*cents)
    there = [item for item in all_there(wanted) if data.draw(st.booleans())]
    seen: SeenInvoice | None = draft(wanted, there) if data.draw(st.booleans()) else None
    there = there if seen else []
    for _ in range(5):
        match next_step(wanted, seen, there):
            case Create():
                seen = draft(wanted, [])
            case Add(items):
                there = [*there, *(SeenItem(item.key, item.cents) for item in items)]
                assert seen
                seen = replace(seen, net_cents=sum(item.cents for item in there))
            case Describe():
                assert seen
                seen = replace(seen, described="words")
            case Finalize():
                assert sorted(there, key=str) == sorted(all_there(wanted), key=str)
                return
            case step:
                pytest.fail(str(step))
    pytest.fail("never finalized")


@given(st.lists(st.integers(-50_000, 100_000), max_size=400), st.booleans())
def test_items_add_up_to_the_lines_and_fit_on_an_invoice(cents: list[int], taxed: bool) -> None:  # noqa: FBT001
    if taxed and sum(cents) < 0:
        return
    items = items_of(STATEMENT, map(MadeLine, cents), taxed=taxed)
    assert sum(item.cents for item in items) == sum(cents)
    assert len(items) <= MAX_ITEMS
    assert len({item.key for item in items}) == len(items)
    assert not taxed or all(item.cents >= 0 for item in items)


def test_up_to_the_limit_each_line_is_an_item_of_its_own() -> None:
    lines = [MadeLine(number) for number in range(MAX_ITEMS)]
    assert [item.key for item in items_of(STATEMENT, lines, taxed=False)] == [str(line.id) for line in lines]


def test_what_finds_no_room_is_one_item_under_a_key_that_stays() -> None:
    lines = [MadeLine(number) for number in range(MAX_ITEMS + 9)]
    first, again = (items_of(STATEMENT, lines, taxed=False) for _ in range(2))
    assert first == again
    assert (len(first), first[-1].lines, first[-1].description) == (250, 10, "10 more lines of the statement")
    assert first[-1].cents == sum(range(249, 259))


def test_where_taxes_are_computed_credits_lower_the_items_that_say_so() -> None:
    first, second = items_of(STATEMENT, [MadeLine(100), MadeLine(-130), MadeLine(80)], taxed=True)
    assert (first.cents, second.cents) == (0, 50)
    assert first.description.endswith("(after credits and discounts of 1.00)")
    assert second.description.endswith("(after credits and discounts of 0.30)")


def test_a_description_that_is_too_long_is_cut() -> None:
    (item,) = items_of(STATEMENT, [MadeLine(1, description="x" * 500)], taxed=False)
    assert isinstance(item, Item)
    assert len(item.description) == 300
