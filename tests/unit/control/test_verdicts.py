"""What a failed call to the provider leads to."""

import pytest
from pytest_django import Settings

from egress.control.reconcile.failures import (
    GiveUp,
    TryAgain,
    backoff_seconds,
    counts,
    stopped_message,
    trying_message,
    verdict,
)
from egress.control.reconcile.plan import Act
from egress.provider.base import (
    AccessRefused,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)

PASSING = [Unavailable, RateLimited, OutcomeUnknown]
LASTING = [NoCapacity, AccessRefused, Rejected]


@pytest.mark.parametrize("kind", LASTING)
def test_lasting_errors_stop_a_creation_at_once(kind: type[ProviderError]) -> None:
    assert verdict(kind("no"), Act.CREATE, attempts=1) == GiveUp()


@pytest.mark.parametrize("kind", [Unavailable, OutcomeUnknown])
def test_passing_errors_are_tried_again_up_to_a_limit(kind: type[ProviderError], settings: Settings) -> None:
    settings.EGRESS_PROVIDER_ATTEMPTS = 5
    decisions = [verdict(kind("hm"), Act.CREATE, attempts=attempts) for attempts in range(1, 6)]
    assert all(isinstance(decision, TryAgain) for decision in decisions[:4])
    assert decisions[4] == GiveUp()


@pytest.mark.parametrize("kind", PASSING + LASTING)
def test_a_deletion_is_never_given_up(kind: type[ProviderError]) -> None:
    assert isinstance(verdict(kind("no"), Act.DELETE, attempts=1000), TryAgain)


def test_pauses_double_and_are_bounded(settings: Settings) -> None:
    settings.EGRESS_BACKOFF_MAX_SECONDS = 60
    assert [backoff_seconds(attempts, 1.0) for attempts in (1, 2, 3, 7, 100)] == [1, 2, 4, 60, 60]
    assert backoff_seconds(3, 0.0) == 2


def test_the_dice_keep_pauses_apart() -> None:
    pauses = {backoff_seconds(8) for _ in range(20)}
    assert len(pauses) > 1
    assert all(60 <= pause <= 120 for pause in pauses)


@pytest.mark.parametrize("attempts", [0, 1, 1000])
def test_a_rate_limit_says_itself_how_long_to_wait_and_is_never_given_up(attempts: int) -> None:
    limited = RateLimited("slow", 90)
    assert verdict(limited, Act.CREATE, attempts=attempts, dice=0) == TryAgain(92)
    assert verdict(limited, Act.CREATE, attempts=attempts, dice=1) == TryAgain(94)
    assert not counts(limited)


@pytest.mark.parametrize("kind", [Unavailable, OutcomeUnknown, *LASTING])
def test_all_other_failures_count(kind: type[ProviderError]) -> None:
    assert counts(kind("no"))


@pytest.mark.parametrize("code", [kind.code for kind in LASTING] + ["gateway_boot_timeout", "gateway_lost", "other"])
def test_customers_learn_what_happened_and_what_to_do(code: str) -> None:
    message = stopped_message(code)
    assert "shared addresses" in message
    assert "retry" in message.lower()


@pytest.mark.parametrize("code", [kind.code for kind in PASSING])
def test_customers_learn_that_it_goes_on_by_itself(code: str) -> None:
    assert "by ourselves" in trying_message(code)
