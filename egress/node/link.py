"""The agent's way to the control plane: one connection, in a thread of its own, awaited from the event loop."""

import random
from typing import TypeVar

from egress.wire.http import ControlPlane

from .config import Config, ConfigError
from .worker import Worker

T = TypeVar("T")
FIRST_SECONDS = 0.5
LAST_SECONDS = 30.0


class Link:
    """One connection; calls on it queue up."""

    def __init__(self, config: Config, name: str) -> None:
        try:
            self._control_plane = ControlPlane(config.control_plane_url, token="", ca_file=config.ca_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"control_plane_url or ca_file ({config.ca_file}): {error}") from None
        self._worker = Worker(name)

    async def call(self, verb: str, message: object, reply: type[T], *, token: str, timeout_seconds: float = 10) -> T:
        """Post `message` to `verb` under `token` and return the reply; raise ControlPlaneError or Refused."""

        def post() -> T:
            self._control_plane.token = token
            return self._control_plane.call(verb, message, reply, timeout_seconds=timeout_seconds)

        return await self._worker.submit(post)


class Backoff:
    """Growing, bounded, jittered pauses, so that many agents don't come back all at once."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self._dice = dice or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._seconds = FIRST_SECONDS

    def reset(self) -> None:
        """Begin anew after a success."""
        self._seconds = FIRST_SECONDS

    def next(self) -> float:
        """Return how long to wait now, in seconds."""
        seconds = self._seconds * self._dice.uniform(0.5, 1)
        self._seconds = min(self._seconds * 2, LAST_SECONDS)
        return seconds
