"""What the node agent counts from its start on, for its metrics."""

from collections import Counter
from collections.abc import Iterable

from egress.wire.exposition import Histogram

#: Upper bounds in seconds: within a VPC answers take well under a millisecond.
ROUND_TRIP_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)


class Counts:
    """Numbers that only grow; those by gateway go with the gateway."""

    def __init__(self) -> None:
        self.probes_sent: Counter[str] = Counter()
        self.probes_lost: Counter[str] = Counter()
        self.round_trip = Histogram(ROUND_TRIP_BOUNDS)
        self.late_rounds = 0
        self.pivots = 0

    def probed(self, gateway: str, *, answered: bool) -> None:
        """Count a probe whose round is over; a gateway's first makes it known, lost ones or not."""
        self.probes_sent[gateway] += 1
        self.probes_lost[gateway] += not answered

    def keep(self, gateways: Iterable[str]) -> None:
        """Forget gateways other than these, so that no more are shown than are in use."""
        kept = set(gateways)
        for counter in (self.probes_sent, self.probes_lost):
            for gateway in counter.keys() - kept:
                del counter[gateway]
