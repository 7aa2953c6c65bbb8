"""Events and how they are delivered: signed, again after a failure, late, twice, in any order, or never."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.standin import Receiver, StandIn, eventually, receiver, stand_in

NAMES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(scope="module")
def running(hook: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(Path(tmp_path_factory.mktemp("standin")), webhook=hook.url) as running:
        hook.secret = running.webhook_secret
        yield running


@pytest.fixture
def standin(running: StandIn, hook: Receiver) -> Iterator[StandIn]:
    hook.events.clear()
    hook.bodies.clear()
    yield running
    running.control("POST", "webhooks", held=False, lost=False, copies=1, delay_seconds=0, order="made")


@pytest.fixture
def client(standin: StandIn) -> stripe.StripeClient:
    return standin.client()


def make(client: stripe.StripeClient, *names: str) -> None:
    for name in names:
        client.v1.customers.create({"name": name})


def seen(hook: Receiver) -> list[str]:
    """Return the names of the customers that were told of."""
    return [event.data.object.name for event in hook.of("customer.created")]


def test_an_event_is_delivered_with_a_signature_that_stripe_python_takes(
    hook: Receiver, client: stripe.StripeClient
) -> None:
    made = client.v1.customers.create({"name": "signed"}, {"idempotency_key": "signed-1"})
    event = eventually(lambda: hook.of("customer.created"))[0]
    assert event.data.object.id == made.id
    assert event.request.idempotency_key == "signed-1"
    assert event.request.id == made.last_response.headers["Request-Id"]
    assert event.api_version == stripe.api_version
    eventually(lambda: client.v1.events.retrieve(event.id).pending_webhooks == 0)
    body, signature = hook.bodies[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, signature, "whsec_other")


def test_a_change_says_what_was_before(hook: Receiver, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"name": "before"}).id
    client.v1.customers.update(customer, {"name": "after", "metadata": {}})
    event = eventually(lambda: hook.of("customer.updated"))[0]
    assert event.data.previous_attributes.to_dict() == {"name": "before"}


def test_what_fails_is_delivered_again(standin: StandIn, hook: Receiver, client: stripe.StripeClient) -> None:
    hook.answers[:] = [500, 302, 404]
    make(client, "again")
    eventually(lambda: seen(hook) == ["again"])
    assert not hook.answers
    last = eventually(
        lambda: [row for row in standin.control("GET", "webhooks")["deliveries"][:1] if row["status"] == "delivered"]
    )[0]
    assert last["attempts"] == 4


def test_events_come_twice(standin: StandIn, hook: Receiver, client: stripe.StripeClient) -> None:
    standin.control("POST", "webhooks", copies=3)
    make(client, "thrice")
    eventually(lambda: seen(hook) == ["thrice"] * 3)
    assert len({event.id for event in hook.events}) == 1


def test_events_come_late(standin: StandIn, hook: Receiver, client: stripe.StripeClient) -> None:
    standin.control("POST", "webhooks", delay_seconds=3600)
    make(client, "late")
    standin.control("POST", "webhooks", delay_seconds=0)
    make(client, "early")
    eventually(lambda: seen(hook) == ["early"])


@pytest.mark.parametrize("order", ["made", "reversed"])
def test_events_come_in_any_order(standin: StandIn, hook: Receiver, client: stripe.StripeClient, order: str) -> None:
    standin.control("POST", "webhooks", held=True, order=order)
    make(client, *NAMES)
    standin.control("POST", "webhooks", held=False)
    eventually(lambda: len(seen(hook)) == len(NAMES))
    assert seen(hook) == (NAMES if order == "made" else NAMES[::-1])


def test_events_come_shuffled(standin: StandIn, hook: Receiver, client: stripe.StripeClient) -> None:
    standin.control("POST", "webhooks", held=True, order="shuffled")
    make(client, *NAMES)
    standin.control("POST", "webhooks", held=False)
    eventually(lambda: sorted(seen(hook)) == NAMES)


def test_a_lost_event_is_found_in_the_list_and_delivered_on_demand(
    standin: StandIn, hook: Receiver, client: stripe.StripeClient
) -> None:
    standin.control("POST", "webhooks", lost=True)
    make(client, "lost")
    standin.control("POST", "webhooks", lost=False)
    make(client, "found")
    eventually(lambda: seen(hook) == ["found"])
    lost = client.v1.events.list({"type": "customer.created", "limit": 2}).data[1]
    assert lost.data.object.name == "lost"
    standin.control("POST", "webhooks/again", event=lost.id)
    eventually(lambda: seen(hook) == ["found", "lost"])


def test_events_are_kept_for_30_days(standin: StandIn, client: stripe.StripeClient) -> None:
    make(client, "old")
    old = client.v1.events.list({"limit": 1}).data[0].id
    assert client.v1.events.retrieve(old).data.object.name == "old"
    standin.forward(30 * 86_400)
    make(client, "new")
    assert [event.data.object.name for event in client.v1.events.list().data] == ["new"]
    with pytest.raises(stripe.InvalidRequestError, match=old):
        client.v1.events.retrieve(old)


def test_events_are_listed_by_type(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create().id
    client.v1.customers.update(customer, {"name": "x"})
    for params, types in (
        ({"type": "customer.updated", "limit": 1}, ["customer.updated"]),
        ({"types": ["customer.created", "customer.updated"], "limit": 2}, ["customer.updated", "customer.created"]),
    ):
        assert [event.type for event in client.v1.events.list(params).data] == types  # type: ignore[arg-type]


def test_an_endpoint_gets_what_it_asked_for_with_its_own_secret(client: stripe.StripeClient) -> None:
    with receiver() as other:
        made = client.v1.webhook_endpoints.create({"url": other.url, "enabled_events": ["customer.deleted"]})
        assert made.secret is not None
        other.secret = made.secret
        assert not hasattr(client.v1.webhook_endpoints.retrieve(made.id), "secret")
        customer = client.v1.customers.create().id
        client.v1.customers.delete(customer)
        eventually(lambda: [event.type for event in other.events] == ["customer.deleted"])
        client.v1.webhook_endpoints.delete(made.id)


def test_nothing_is_delivered_beyond_this_machine(client: stripe.StripeClient) -> None:
    for url in ("http://192.0.2.1/x", "https://127.0.0.1/x", "http://example.com/"):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            client.v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
        assert refusal.value.code == "url_invalid"


def test_what_waits_survives_a_kill(tmp_path: Path) -> None:
    with receiver() as hook, stand_in(tmp_path, webhook=hook.url) as standin:
        hook.secret = standin.webhook_secret
        standin.control("POST", "webhooks", held=True)
        make(standin.client(), *NAMES)
        standin.kill()
        standin.start()
        assert not hook.events
        standin.control("POST", "webhooks", held=False)
        eventually(lambda: seen(hook) == NAMES)
