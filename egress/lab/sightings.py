"""What the internet saw: plain values, shared by the lab and those who ask it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets of one kind: `direction` "out" is towards the internet, "in" its answers.

    `source` is the address that the internet sees of the caller, in both directions; `destination` and `port` (0 where
    there is none) are the internet's.
    """

    direction: str
    source: str
    destination: str
    protocol: str
    port: int
    packets: int


@dataclass(frozen=True, slots=True)
class Call:
    """A request or datagram that was answered; `number` counts on from the lab's start, `at` is epoch seconds."""

    number: int
    at: float
    protocol: str
    source: str
    source_port: int
    destination: str
    path: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything since a mark.

    `missed` packets were seen but not told apart, `calls_lost` were answered but have fallen out of the log: a proof
    wants both to be 0.
    """

    flows: tuple[Flow, ...]
    calls: tuple[Call, ...]
    missed: int
    calls_lost: int
