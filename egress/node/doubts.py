"""Remember which containers came while the node's network was unsupported: a network that is mended since isn't theirs.

What a container was wired by stays as long as it does: its packets may go past all rules.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path

from .state import write_atomic

log = logging.getLogger(__name__)

Ids = frozenset[str]


class Doubts:
    """Ids of containers in doubt; kept in `file`, which outlives the agent but not the containers."""

    def __init__(self, file: Path) -> None:
        self._file = file
        #: While the network is unsupported: those that came before, by a network that was seen to carry packets.
        self._good: Ids | None = None
        self._ids: Ids = frozenset()
        self._read()

    def begin(self, good: Ids) -> None:
        """Doubt, from now on, all containers but those that are `good` and weren't in doubt before."""
        if self._good is None:
            self._keep(good - self._ids, self._ids)

    def end(self, present: Ids) -> None:
        """Doubt no more than those in doubt that are `present`: the network is supported."""
        if self._good is not None:
            self._keep(None, present - self._good)

    def among(self, present: Ids) -> Ids:
        """Return which of these containers are in doubt."""
        return present & self._ids if self._good is None else present - self._good

    def _keep(self, good: Ids | None, ids: Ids) -> None:
        self._good, self._ids = good, ids
        content = {"good": None if good is None else sorted(good), "in_doubt": sorted(ids)}
        try:
            write_atomic(self._file, json.dumps(content).encode(), durable=False)
        except OSError as error:
            log.warning("%s can't be written: after a restart containers may be in doubt: %s", self._file, error)
            # Read again, it would say what isn't so any more.
            with suppress(OSError):
                self._file.unlink(missing_ok=True)

    def _read(self) -> None:
        try:
            content = json.loads(self._file.read_text("utf-8"))
            good, ids = content["good"], content["in_doubt"]
            self._good, self._ids = None if good is None else frozenset(map(str, good)), frozenset(map(str, ids))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("%s: passed over, so all containers are in doubt: %s", self._file, error)
            self._good = frozenset()
