"""What a server costs its provider's customer in one month. Pure.

As DigitalOcean counts since 2026: by the second from its creation to its deletion, running or not, at least a minute
and a cent, and at most the price of a month, which 672 hours make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.rating.money import to_cents

CAP_SECONDS = 672 * 3600
LEAST_SECONDS, LEAST_CENTS = 60, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server: of which size it is, and since and until when it was there; `deleted_at` is None while it is."""

    size: str
    created_at: datetime
    deleted_at: datetime | None


@dataclass(slots=True)
class Cost:
    """What servers came to: whole seconds and cents; `unpriced` are the sizes that no price is known of."""

    seconds: int = 0
    cents: int = 0
    unpriced: frozenset[str] = frozenset()

    def add(self, server: Server, begin: datetime, end: datetime, monthly: Mapping[str, Decimal]) -> None:
        """Add what `server` came to from `begin` up to `end`, a month or what of it is over."""
        seconds = seconds_in(server, begin, end)
        self.seconds += seconds
        if server.size in monthly:
            self.cents += cents_of(monthly[server.size], seconds)
        elif seconds:
            self.unpriced |= {server.size}


def seconds_in(server: Server, begin: datetime, end: datetime) -> int:
    """Return how many whole seconds a server was there from `begin` up to `end`."""
    until = min(end, server.deleted_at or end)
    return max(0, int((until - max(begin, server.created_at)).total_seconds()))


def cents_of(monthly: Decimal, seconds: int) -> int:
    """Return what `seconds` of a server cost in one month, rounded as one line of an invoice is."""
    if not seconds or not monthly:
        return 0
    share = Fraction(min(max(seconds, LEAST_SECONDS), CAP_SECONDS), CAP_SECONDS)
    return max(LEAST_CENTS, to_cents(Fraction(monthly) * share))
