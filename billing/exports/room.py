"""How many exports are sent at once: one is a thread and a database connection for as long as its reader takes."""

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Final

from .errors import ExportBusy

#: At once, of one team and of all in this process; operators' exports of all teams count as one team's.
OF_A_TEAM: Final = 2
OF_A_PROCESS: Final = 8
#: One that isn't read to its end for so long doesn't count any more; those of the largest installation take minutes.
HELD_SECONDS: Final = 3_600.0

_lock = threading.Lock()
#: {an export's number: (whose it is, until when it counts)}
_under_way: dict[object, tuple[str, float]] = {}


class Place:
    """The room that one export takes until it is left, also twice."""

    def __init__(self, whose: str) -> None:
        """Take it. Raises ExportBusy."""
        now = monotonic()
        with _lock:
            for place in [place for place, (_, until) in _under_way.items() if until <= now]:
                del _under_way[place]
            of_team = sum(owner == whose for owner, _ in _under_way.values())
            if of_team >= OF_A_TEAM:
                raise ExportBusy(
                    f"{of_team} exports of yours are being sent already; wait for one to end, then ask again."
                )
            if len(_under_way) >= OF_A_PROCESS:
                raise ExportBusy
            _under_way[self] = (whose, now + HELD_SECONDS)

    def leave(self) -> None:
        """Make room for another."""
        with _lock:
            _under_way.pop(self, None)

    def around(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks; the room is left after the last, or when one can't be made."""
        try:
            yield from chunks
        finally:
            self.leave()
