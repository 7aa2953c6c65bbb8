import time
from typing import Any

import pytest
import stripe

from billing.standin.deliveries import MAX_ATTEMPTS, MAX_RETRY_SECONDS, Habits, retry_after, signature


def test_stripe_python_takes_the_signature() -> None:
    header = signature(b'{"id": "evt_1"}', "whsec_x", int(time.time()))
    assert stripe.WebhookSignature.verify_header('{"id": "evt_1"}', header, "whsec_x", tolerance=300)


@pytest.mark.parametrize(
    ("payload", "secret", "age"), [("{}", "whsec_x", 0), ('{"a": 1}', "whsec_y", 0), ('{"a": 1}', "whsec_x", 301)]
)
def test_stripe_python_refuses_another_body_secret_or_time(payload: str, secret: str, age: int) -> None:
    header = signature(b'{"a": 1}', secret, int(time.time()) - age)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(payload, header, "whsec_x", tolerance=300)


def test_waits_grow_to_a_bound_and_end() -> None:
    waits = [retry_after(attempts) for attempts in range(1, MAX_ATTEMPTS + 1)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-2:] == [MAX_RETRY_SECONDS, None]


@pytest.mark.parametrize("habit", [{"copies": 0}, {"copies": 6}, {"delay_seconds": -1}, {"order": "alphabetical"}])
def test_habits_have_bounds(habit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(habit))):
        Habits(**habit)
