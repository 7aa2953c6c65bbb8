"""Probe the gateways in use and say which ones new connections should avoid."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from egress.wire import probe

_log = logging.getLogger(__name__)
INTERVAL_SECONDS = 0.1
MISSES_TO_SUSPECT = 3
ANSWERS_TO_RETURN = 5
#: More gateways than this in one round than asked for are a mistake, not a cluster.
_LATE_ROUNDS = 2.5


@dataclass(slots=True)
class Target:
    """What is known of one gateway. `missed` and `answered` count in a row; `pending` is the last probe's nonce."""

    address: str
    missed: int = 0
    answered: int = 0
    suspect: bool = False
    heard: bool = False
    boot: bytes = b""
    pending: dict[bytes, None] = field(default_factory=dict)

    def answer(self, reply: probe.Answer) -> None:
        """Take in the answer to a pending probe."""
        self.pending.clear()
        self.boot = reply.boot
        if reply.forwarding:
            self.heard = True

    def end_round(self) -> None:
        """Count the round that ends, by whether the gateway was heard in it, and judge."""
        if self.heard:
            self.missed, self.answered = 0, self.answered + 1
        else:
            self.missed, self.answered = self.missed + 1, 0
        if self.missed >= MISSES_TO_SUSPECT:
            self.suspect = True
        elif self.answered >= ANSWERS_TO_RETURN:
            self.suspect = False
        self.heard = False


def verdict(targets: Mapping[str, Target]) -> frozenset[str]:
    """Return the gateways to avoid: none when none at all answers, for then the fault is the node's own."""
    suspect = frozenset(gateway for gateway, target in targets.items() if target.suspect)
    return frozenset() if len(suspect) == len(targets) > 1 else suspect


class _Port(asyncio.DatagramProtocol):
    def __init__(self, prober: "Prober") -> None:
        self._prober = prober

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._prober.receive(data, addr[0])

    def error_received(self, exc: Exception) -> None:
        """Let it pass: an ICMP error is silence as well, and the count of misses tells."""


class Prober:
    """Sends a probe to each target every `INTERVAL_SECONDS` from `address`; calls `on_change` with the gateways to avoid."""

    def __init__(self, on_change: Callable[[frozenset[str]], None], *, address: str = "0.0.0.0") -> None:
        self._on_change = on_change
        self._address = address
        self._key = b""
        self._targets: dict[str, Target] = {}
        self._told: frozenset[str] = frozenset()
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def health(self) -> dict[str, Health]:
        """Return each target's health, as a node reports it: by what was heard, whoever is at fault."""
        return {gateway: _health(target) for gateway, target in self._targets.items()}
