from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from billing.standin.account import Account
from billing.standin.answers import Answers
from billing.standin.app import endpoints
from billing.standin.clock import Clock
from billing.standin.deliveries import Deliveries
from billing.standin.faults import Faults
from billing.standin.gate import Call, Gate
from billing.standin.store import Store
from billing.standin.things import events

CREATE = next(endpoint for endpoint in endpoints() if endpoint.name == "customers.create")
CALL = Call(CREATE, (), {"name": "x"}, "/v1/customers", "req_1", "key-1")


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    store = Store(tmp_path / "state")
    made = Account(store, Clock(store), Deliveries(store))
    events.register(made, "http://127.0.0.1:9/", "whsec_x", events=["*"])
    yield made
    store.close()


def kept(account: Account) -> dict[str, int]:
    """Return how much of a customer's creation there is: the customer, its event, the delivery, the answer."""
    return {
        "objects": sum(1 for kind in ("customer", "event") for _ in account.store.rows(kind)),
        "deliveries": len(account.deliveries.show()),
        "answers": account.store.sql.execute("SELECT COUNT(*) FROM answers").fetchone()[0],
    }


def test_a_request_is_done_with_all_that_belongs_to_it(account: Account) -> None:
    Gate(account, Answers(account.store), Faults(), "")._do(CALL, None)
    assert kept(account) == {"objects": 2, "deliveries": 1, "answers": 1}


@pytest.mark.parametrize(("owner", "step"), [(Answers, "keep"), (Deliveries, "add"), (Account, "tell")])
def test_a_request_that_breaks_at_any_step_is_not_done_at_all(
    account: Account, monkeypatch: pytest.MonkeyPatch, owner: type[Any], step: str
) -> None:
    real = getattr(owner, step)

    def breaks(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        raise RuntimeError(step)

    gate = Gate(account, Answers(account.store), Faults(), "")
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, breaks)
        with pytest.raises(RuntimeError, match=step):
            gate._do(CALL, None)
    assert kept(account) == {"objects": 0, "deliveries": 0, "answers": 0}
    gate._do(CALL, None)
    assert kept(account) == {"objects": 2, "deliveries": 1, "answers": 1}
