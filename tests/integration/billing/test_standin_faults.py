"""What goes wrong at the stand-in: on demand, by bad requests, and when it is killed."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.standin import LIMIT_SECONDS, ROOT, StandIn, customer_with_card, draft, eventually, stand_in

HALF_SECOND = 0.5
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(Path(tmp_path_factory.mktemp("standin"))) as running:
        yield running


@pytest.fixture
def standin(running: StandIn) -> Iterator[StandIn]:
    yield running
    running.control("DELETE", "faults")


@pytest.fixture
def client(standin: StandIn) -> stripe.StripeClient:
    return standin.client()


def make(client: stripe.StripeClient, name: str, key: str = "") -> Any:
    return client.v1.customers.create({"name": name}, {"idempotency_key": key} if key else {})


def named(client: stripe.StripeClient, name: str) -> int:
    """Return how many customers have a name."""
    return len(client.v1.customers.search({"query": f"name:'{name}'"}).data)


# --- idempotency keys


def test_a_request_with_the_same_key_gets_the_same_answer(client: stripe.StripeClient) -> None:
    first, again = make(client, "same", "same-1"), make(client, "same", "same-1")
    assert first.id == again.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert named(client, "same") == 1


def test_a_key_with_other_parameters_or_another_address_is_refused(client: stripe.StripeClient) -> None:
    customer = make(client, "one", "other-1").id
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        make(client, "two", "other-1")
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.customers.update(customer, {"name": "one"}, {"idempotency_key": "other-1"})


def test_a_refusal_is_an_answer_as_well_but_not_that_of_parameters(client: stripe.StripeClient) -> None:
    customer = customer_with_card(client, "pm_card_chargeCustomerFail")
    invoice = draft(client, customer.id, 900)
    client.v1.invoices.finalize_invoice(invoice.id)
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            client.v1.invoices.pay(invoice.id, {}, {"idempotency_key": "refused-1"})
    assert len(client.v1.charges.list({"customer": customer.id}).data) == 1
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"nmae": "x"}, {"idempotency_key": "refused-2"})  # type: ignore[typeddict-unknown-key]
    assert make(client, "right", "refused-2").name == "right"


def test_a_key_expires_after_a_day(standin: StandIn, client: stripe.StripeClient) -> None:
    first = make(client, "day", "day-1")
    # Its clock goes on by itself meanwhile: some minutes are left for that.
    standin.forward(86_000)
    assert make(client, "day", "day-1").id == first.id
    standin.forward(400)
    assert make(client, "day", "day-1").id != first.id


def test_a_key_in_use_is_a_conflict(standin: StandIn, client: stripe.StripeClient) -> None:
    standin.fault("slow", "customers.create", delay_seconds=600)
    slow = threading.Thread(target=make, args=(client, "busy", "busy-1"))
    slow.start()
    try:
        eventually(lambda: not standin.control("GET", "faults")["waiting"])
        with pytest.raises(stripe.APIError) as refusal:
            make(client, "busy", "busy-1")
        assert (refusal.value.http_status, refusal.value.error.code) == (409, "idempotency_key_in_use")
    finally:
        standin.control("DELETE", "faults")
        slow.join()
    assert named(client, "busy") == 1
    assert make(client, "busy", "busy-1").last_response.headers["Idempotent-Replayed"] == "true"


def test_a_killed_stand_in_knows_what_it_answered(tmp_path: Path) -> None:
    with stand_in(tmp_path) as standin:
        client = standin.client()
        first = make(client, "kept", "kept-1")
        standin.forward(1_000)
        standin.kill()
        standin.start()
        assert make(client, "kept", "kept-1").id == first.id
        assert named(client, "kept") == 1
        assert standin.control("GET", "clock")["offset_seconds"] == 1_000


def test_a_request_that_a_kill_cut_short_is_done_once(tmp_path: Path) -> None:
    with stand_in(tmp_path) as standin:
        for number, kind in enumerate(("hang_before", "hang")):
            standin.fault(kind, "customers.create")
            client = standin.client()
            cut = threading.Thread(target=_swallow, args=(lambda: make(client, f"cut{number}", f"cut-{number}"),))  # noqa: B023 - joined below
            cut.start()
            eventually(lambda: not standin.control("GET", "faults")["waiting"])
            standin.kill()
            cut.join()
            standin.start()
            done = number  # hang: all was done, only the answer never came
            assert named(client, f"cut{number}") == done
            make(client, f"cut{number}", f"cut-{number}")
            assert named(client, f"cut{number}") == 1


def _swallow(call: Callable[[], Any]) -> None:
    with pytest.raises(stripe.APIConnectionError):
        call()


def test_two_stand_ins_do_not_share_a_state(tmp_path: Path) -> None:
    with stand_in(tmp_path):
        command = [sys.executable, "-m", "billing.standin", "--state", str(tmp_path)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert second.returncode == 1
    assert str(tmp_path) in second.stderr
    assert "Traceback" not in second.stderr


# --- faults on demand


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_before_does_nothing(standin: StandIn, client: stripe.StripeClient, status: int) -> None:
    name = f"before{status}"
    standin.fault("failed_before", "customers.create", status=status)
    with pytest.raises(stripe.APIError) as failure:
        make(client, name, name)
    assert failure.value.http_status == status
    assert named(client, name) == 0
    assert make(client, name, name).name == name


def test_a_failure_after_has_done_all_and_is_kept_under_the_key(standin: StandIn, client: stripe.StripeClient) -> None:
    standin.fault("failed", "customers.create")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failure:
            make(client, "after", "after-1")
        assert failure.value.http_status == 500
    assert failure.value.headers["Idempotent-Replayed"] == "true"
    assert named(client, "after") == 1


def test_a_failure_that_is_forgotten_lets_the_same_key_do_it_again(
    standin: StandIn, client: stripe.StripeClient
) -> None:
    standin.fault("failed", "customers.create", forgotten=True)
    with pytest.raises(stripe.APIError):
        make(client, "twice", "twice-1")
    make(client, "twice", "twice-1")
    assert named(client, "twice") == 2


@pytest.mark.parametrize(("kind", "done"), [("dropped_before", 0), ("dropped", 1)])
def test_a_connection_is_cut(standin: StandIn, client: stripe.StripeClient, kind: str, done: int) -> None:
    standin.fault(kind, "customers.create")
    with pytest.raises(stripe.APIConnectionError):
        make(client, kind, kind)
    assert named(client, kind) == done
    make(client, kind, kind)
    assert named(client, kind) == 1


@pytest.mark.parametrize(("kind", "done"), [("hang_before", 0), ("hang", 1)])
def test_an_answer_never_comes(standin: StandIn, client: stripe.StripeClient, kind: str, done: int) -> None:
    standin.fault(kind, "customers.create")
    with pytest.raises(stripe.APIConnectionError):
        make(standin.client(timeout=HALF_SECOND), kind, kind)
    assert named(client, kind) == done
    eventually(lambda: make_unless_busy(client, kind))
    assert named(client, kind) == 1


def make_unless_busy(client: stripe.StripeClient, name: str) -> bool:
    """Make a customer; False while the server hasn't noticed that the last one to ask is gone."""
    try:
        make(client, name, name)
    except stripe.APIError as error:
        if error.http_status == HTTPStatus.CONFLICT:
            return False
        raise
    return True


def test_too_many_requests(standin: StandIn, client: stripe.StripeClient) -> None:
    standin.fault("rate_limited", "customers.list", left=2)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.list()
    assert client.v1.customers.list().object == "list"


def test_stripe_python_itself_rides_over_what_passes(standin: StandIn) -> None:
    patient = standin.client(retries=3)
    standin.fault("dropped", "customers.create")
    standin.fault("failed_before", "customers.create")
    assert patient.v1.customers.create({"name": "ride"}).name == "ride"
    assert named(patient, "ride") == 1


def test_the_api_is_away_until_it_is_back(standin: StandIn, client: stripe.StripeClient) -> None:
    standin.control("POST", "faults", away=True)
    for _ in range(3):
        with pytest.raises(stripe.APIConnectionError):
            client.v1.customers.list()
    standin.control("POST", "faults", away=False)
    assert client.v1.customers.list().object == "list"


def test_a_charge_is_declined_whatever_the_card(standin: StandIn, client: stripe.StripeClient) -> None:
    customer, other = customer_with_card(client), customer_with_card(client)
    standin.fault("declined", customer=customer.id, code="insufficient_funds")
    theirs, mine = draft(client, other.id, 900), draft(client, customer.id, 900)
    assert client.v1.invoices.pay(theirs.id).status == "paid"
    with pytest.raises(stripe.CardError) as refusal:
        client.v1.invoices.pay(mine.id)
    assert refusal.value.error.decline_code == "insufficient_funds"
    assert client.v1.invoices.pay(mine.id).status == "paid"


def test_a_customer_is_refused_for_good(standin: StandIn, client: stripe.StripeClient) -> None:
    customer, other = customer_with_card(client), customer_with_card(client)
    invoice = draft(client, customer.id, 900)
    standin.fault("refused", customer=customer.id, left=0, code="account_closed", message="No more.")
    for refused in (
        lambda: client.v1.invoices.create({"customer": customer.id}),
        lambda: client.v1.customers.update(customer.id, {"name": "x"}),
        lambda: client.v1.invoices.finalize_invoice(invoice.id),
    ):
        with pytest.raises(stripe.InvalidRequestError, match="No more") as refusal:
            refused()
        assert (refusal.value.http_status, refusal.value.code) == (400, "account_closed")
    assert client.v1.invoices.create({"customer": other.id}).customer == other.id


def test_faults_let_requests_pass_before_and_are_shown_and_cleared(
    standin: StandIn, client: stripe.StripeClient
) -> None:
    standin.fault("failed_before", "customers.list", skip=1, left=0)
    client.v1.customers.list()
    with pytest.raises(stripe.APIError):
        client.v1.customers.list()
    assert [fault["kind"] for fault in standin.control("GET", "faults")["waiting"]] == ["failed_before"]
    standin.control("DELETE", "faults")
    client.v1.customers.list()


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "earthquake"},
        {"kind": "slow", "operation": "prices.list"},
        {"operation": "*"},
        {"kind": "slow", "x": 1},
    ],
)
def test_a_fault_that_cannot_be_is_refused(standin: StandIn, wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"kind|operation"):
        standin.control("POST", "faults", **wanted)


# --- bad requests


@pytest.mark.parametrize("key", ["sk_live_1234567890", "sk_test_another", "pk_test_1"])
def test_only_its_own_test_key_is_let_in(standin: StandIn, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError) as refusal:
        standin.client(key).v1.customers.list()
    assert refusal.value.http_status == 401
    assert key not in str(refusal.value)
    assert standin.request("GET", "/_standin/clock", headers={"Authorization": f"Bearer {key}"})[0] == 401


def test_errors_say_what_stripe_would(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.customers.create({"emial": "x"})  # type: ignore[typeddict-unknown-key]
    error = refusal.value
    assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", "emial")
    assert error.request_id
    assert error.headers["Stripe-Version"] == stripe.api_version
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.invoices.retrieve("in_none")
    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/v1/prices", {}, b"", 404),
        ("DELETE", "/v1/customers", {}, b"", 404),
        ("GET", "/v2/core/events", {}, b"", 404),
        ("POST", "/v1/customers", {"Content-Type": "application/json"}, b"{}", 400),
        ("POST", "/v1/customers", FORM, b"a[b=1", 400),
        ("POST", "/v1/customers", FORM, b"name=" + b"x" * 600_000, 413),
        ("POST", "/v1/customers", {**FORM, "Idempotency-Key": "k" * 256}, b"name=x", 400),
        ("GET", "/v1/customers", {"Stripe-Version": "2020-08-27"}, b"", 400),
        ("POST", "/_standin/clock", {}, b"[1]", 400),
        ("POST", "/_standin/clock", {}, b"{", 400),
        ("POST", "/_standin/clock", {}, b'{"offset_seconds": -1}', 400),
        ("POST", "/_standin/webhooks", {}, b'{"copies": 9}', 400),
        ("GET", "/checkout/cs_none", {}, b"", 404),
        ("GET", "/invoice/in_none", {}, b"", 404),
        ("POST", "/invoice/in_none", {}, b"card[x]=1", 404),
        ("POST", "/invoice/in_none", {}, b"card[x", 400),
    ],
)
def test_bad_requests_are_answered(
    standin: StandIn, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = standin.request(method, path, body, headers)
    assert answer[0] == status


def test_what_cannot_be_expanded_is_refused(client: stripe.StripeClient) -> None:
    customer = make(client, "expand").id
    for path in ("shoes", "email", "invoice_settings.default_payment_method.customer.invoice_settings.x"):
        with pytest.raises(stripe.InvalidRequestError, match="expand"):
            client.v1.customers.retrieve(customer, {"expand": [path]})
