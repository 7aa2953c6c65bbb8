"""What a failed call to the provider means: try again and when, or stop and say so. And the words for customers."""

import random
from dataclasses import dataclass

from django.conf import settings

from egress.provider.base import AccessRefused, NoCapacity, ProviderError, RateLimited, Rejected

from .plan import Act


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The assignment goes to error; a person must do something."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The same step is taken again after this long."""

    after_seconds: float


#: Acts that are never given up: a VM that isn't deleted costs money and is somebody's address.
_DELETIONS = frozenset({Act.BEGIN_DELETE, Act.DELETE})
_PLACING = frozenset({Act.CHECK_PLACEMENT, Act.TAKE_OVER})
#: A pair on one host is better than none: the check is soon done without.
PLACEMENT_ATTEMPTS = 6
_LASTING = (NoCapacity, AccessRefused, Rejected)

#: After a rate limit, between 2 and 4 s on top of what the provider asks for.
SPREAD_LIKE_ATTEMPT = 3

_WORDS = {
    "provider_no_capacity": (
        "There is no room for new gateways in this app's region at the moment. "
        "Your app keeps its shared addresses. Retry later, or ask support for another region."
    ),
    "provider_access_refused": (
        "The platform can't create gateways: its access to the cloud provider was refused. "
        "Your app keeps its shared addresses. Our operators must renew the access; retry after that."
    ),
    "provider_rejected": (
        "The cloud provider refused to create this app's gateways as they are set up. "
        "Your app keeps its shared addresses. Our operators must correct the set-up; retry after that."
    ),
    "gateway_boot_timeout": (
        "A gateway of this app was created but didn't start to work in time. "
        "Your app keeps its shared addresses. Retry: the gateway is then replaced by a new one."
    ),
    "gateway_lost": (
        "A gateway of this app disappeared at the cloud provider before it was in use. "
        "Your app keeps its shared addresses. Retry: the gateway is then replaced by a new one."
    ),
}
_GAVE_UP = (
    "The cloud provider didn't answer as it should, many times in a row. "
    "Your app keeps its shared addresses. Retry later; nothing is lost."
)
_TRYING = {
    "provider_rate_limited": "The cloud provider asks us to slow down; we go on by ourselves in a moment.",
    "provider_outcome_unknown": "The cloud provider's answer got lost; we check what happened and go on by ourselves.",
}
_TRYING_ANYHOW = (
    "The cloud provider has trouble answering; we keep trying by ourselves. There is nothing for you to do."
)


def verdict(error: ProviderError, act: Act, *, attempts: int, dice: float | None = None) -> GiveUp | TryAgain:
    """Decide after `attempts` calls that failed, this one included. `dice` in 0..1 spreads the pauses."""
    if isinstance(error, RateLimited):
        # Many wait for the same moment: they mustn't all come in it.
        return TryAgain(error.retry_after_seconds + backoff_seconds(SPREAD_LIKE_ATTEMPT, dice))
    most = PLACEMENT_ATTEMPTS if act in _PLACING else settings.EGRESS_PROVIDER_ATTEMPTS
    if act not in _DELETIONS and (isinstance(error, _LASTING) or attempts >= most):
        return GiveUp()
    return TryAgain(backoff_seconds(attempts, dice))


def counts(error: ProviderError) -> bool:
    """Say whether a failed call brings us nearer to giving up: to be asked to wait is no failure, however often.

    An app waits for its turn then, and every hint to look at it again is refused as well before that.
    """
    return not isinstance(error, RateLimited)


def backoff_seconds(attempts: int, dice: float | None = None) -> float:
    """Return how long to pause after `attempts` failures: doubling from 1 s, bounded, half of it by chance."""
    longest = min(float(settings.EGRESS_BACKOFF_MAX_SECONDS), 2.0 ** min(attempts - 1, 20))
    # No secret hangs on these dice: they keep workers from calling in step.
    chance = random.random() if dice is None else dice  # noqa: S311
    return longest * (0.5 + chance / 2)


def stopped_message(code: str) -> str:
    """Tell a customer why their app's egress needs attention, and what to do."""
    return _WORDS.get(code, _GAVE_UP)


def trying_message(code: str) -> str:
    """Tell a customer what holds things up while we try again."""
    return _TRYING.get(code, _TRYING_ANYHOW)
