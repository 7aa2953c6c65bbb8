"""How often agents may ask, and how often an address may come with a token that is nobody's."""

import logging

from egress.control import events
from egress.control.errors import TooManyRequests
from portal.accounts.limits import Limit, LocalLimit, network_of
from portal.accounts.models import token_hash

log = logging.getLogger(__name__)

#: Fifty a second: a node follows every change, and each is an acknowledgement and a report. Only of known tokens, so
#: there are no more keys than agents.
REQUESTS = LocalLimit("agent-requests", times=3_000, seconds=60)
#: A cluster's nodes may all come from one address.
FAILURES = Limit("agent-failures", times=100, seconds=60)
MAX_KNOWN = 10_000
_GUESSING = (
    "a hundred wrong tokens came within a minute: somebody guesses, or a cluster's agents have lost their credentials;"
    " this is told once an hour, and the web servers' logs name all; from "
)


class Guard:
    """Stands before the agents' API of one process."""

    def __init__(self) -> None:
        #: Digests of tokens that were good here: one who guesses behind the same address doesn't shut these out.
        self._known: dict[str, None] = {}

    def knows(self, token: str) -> bool:
        """Say whether `token` was good here, and count this request. Raises TooManyRequests. Asks nobody."""
        digest = token_hash(token)
        if digest not in self._known:
            return False
        if wait := REQUESTS.count(digest):
            raise TooManyRequests(wait)
        return True

    def admit_stranger(self, address: str) -> None:
        """Let a token that isn't known be looked up. Raises TooManyRequests."""
        if wait := FAILURES.wait_seconds(network_of(address)):
            raise TooManyRequests(wait)

    def passed(self, token: str) -> None:
        """Note that `token` is somebody's."""
        digest = token_hash(token)
        if self._known.pop(digest, False) is False:
            # Its first request, which nobody has counted.
            REQUESTS.count(digest)
        self._known[digest] = None
        while len(self._known) > MAX_KNOWN:
            self._known.pop(next(iter(self._known)), None)

    def failed(self, token: str, address: str) -> None:
        """Note that `token`, which came from `address`, is nobody's."""
        self._known.pop(token_hash(token), None)
        network = network_of(address)
        FAILURES.count(network)
        if FAILURES.wait_seconds(network):
            log.warning("so many wrong tokens come from %s that it has to wait", network)
            events.alarm("agents.guessing", on=None, new="held up", reason=_GUESSING + network)
