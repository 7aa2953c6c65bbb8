"""Uvicorn's HTTP protocol with a limit that it lacks: how long a request's head may take to arrive.

`uvicorn --http portal.config.patience:PatientProtocol …`. What reads bodies has limits of its own (`bounds`).
"""

import asyncio

import h11
from django.conf import settings
from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """Close a connection whose next request doesn't get beyond its head."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to count."""
        super().connection_made(transport)
        self._count()

    def data_received(self, data: bytes) -> None:
        """Count while there is a part of a head, and no longer."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._count()
        else:
            self._stop_counting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count no more."""
        self._stop_counting()
        super().connection_lost(exc)

    def _count(self) -> None:
        if self._end is None:
            self._end = self.loop.call_later(settings.REQUEST_HEAD_SECONDS, self.transport.abort)

    def _stop_counting(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
