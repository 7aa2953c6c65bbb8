from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.standin import store as store_module
from billing.standin.account import Account
from billing.standin.clock import MAX_OFFSET_SECONDS, Clock
from billing.standin.deliveries import Deliveries
from billing.standin.errors import ApiError
from billing.standin.store import Store
from billing.standin.things import customers, invoices, items
from billing.standin.things.endpoint import MAX_METADATA_KEYS, metadata


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    store = Store(tmp_path / "state")
    yield Account(store, Clock(store), Deliveries(store))
    store.close()


def test_an_invoice_takes_250_items(account: Account) -> None:
    with account.store.transaction():
        customer = customers.create(account, {})["id"]
        invoice = invoices.create(account, {"customer": customer})["id"]
        item = {"customer": customer, "invoice": invoice, "amount": 1, "currency": "usd"}
        for _ in range(items.MAX_ITEMS):
            items.create(account, item)
        with pytest.raises(ApiError, match="250"):
            items.create(account, item)
    assert account.store.get("invoice", invoice)["total"] == 250


def test_objects_are_bounded(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_OBJECTS", 2)  # a customer and its event
    with account.store.transaction():
        customers.create(account, {})
    with pytest.raises(ApiError, match="2 objects at most") as refusal, account.store.transaction():
        customers.create(account, {})
    assert refusal.value.status == 507
    assert len(list(account.store.rows("customer"))) == 1


def test_what_fails_is_undone_unless_it_is_to_be_kept(account: Account) -> None:
    def fail(*, kept: bool) -> None:
        with account.store.attempt():
            customers.create(account, {})
            raise ApiError(402, "card_error", "declined", kept=kept)

    for kept in (False, True):
        with account.store.transaction(), pytest.raises(ApiError):
            fail(kept=kept)
        assert len(list(account.store.rows("customer"))) == kept


def test_the_clock_goes_forward_only_and_not_too_far(account: Account) -> None:
    account.clock.move(100)
    for offset in (99, MAX_OFFSET_SECONDS + 1):
        with pytest.raises(ValueError, match="offset_seconds"):
            account.clock.move(offset)
    assert Clock(account.store).offset_seconds == 100


@pytest.mark.parametrize(
    "wanted",
    [{"k" * 41: "v"}, {"k": "v" * 501}, {f"k{number}": "v" for number in range(MAX_METADATA_KEYS + 1)}],
    ids=["key", "value", "keys"],
)
def test_metadata_is_bounded(wanted: dict[str, str]) -> None:
    with pytest.raises(ApiError) as refusal:
        metadata({"metadata": wanted})
    assert refusal.value.param.startswith("metadata")


def test_metadata_is_merged() -> None:
    before = {"metadata": {"a": "1", "b": "2"}}
    assert metadata({"metadata": {"b": "", "c": "3"}}, before) == {"a": "1", "c": "3"}
    assert metadata({"metadata": ""}, before) == {}
    assert metadata({}, before) == {"a": "1", "b": "2"}
