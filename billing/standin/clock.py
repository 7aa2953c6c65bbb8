"""The stand-in's time: the machine's, and how far the control API moved it."""

import time

from .store import Store

MAX_OFFSET_SECONDS = 20 * 366 * 86_400
_KEY = "clock_offset_seconds"


class Clock:
    """Epoch seconds of the stand-in; the offset survives a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offset = int(store.setting(_KEY, "0"))

    def now(self) -> int:
        """Return the stand-in's time."""
        return int(time.time()) + self._offset

    def move(self, offset_seconds: int) -> None:
        """Be `offset_seconds` ahead of the machine. Raises ValueError for going back, or further than 20 years."""
        if not self._offset <= offset_seconds <= MAX_OFFSET_SECONDS:
            raise ValueError(
                f"offset_seconds must be from {self._offset} to {MAX_OFFSET_SECONDS}, not {offset_seconds}"
            )
        self._store.set_setting(_KEY, str(offset_seconds))
        self._offset = offset_seconds

    @property
    def offset_seconds(self) -> int:
        """How far ahead of the machine this is."""
        return self._offset
