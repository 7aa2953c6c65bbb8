"""Keep what must outlive the agent: its credential, and whom it forwards for."""

import logging
import os
from pathlib import Path
from typing import TypeVar

from egress.wire.codec import WireError, decode, encode
from egress.wire.messages import GatewaySync
from egress.wire.tokens import Tokens

T = TypeVar("T")

log = logging.getLogger(__name__)


class Store:
    """Two small files under `directory`, readable by their owner only and replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self._credential = directory / "credential.json"
        self._clients = directory / "clients.json"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def credential(self) -> Tokens | None:
        """Return the stored credential, None when there is none that can be read."""
        return _read(Tokens, self._credential)

    def save_credential(self, credential: Tokens) -> None:
        """Keep the credential. Raises OSError."""
        _write(self._credential, encode(credential))

    def clients(self) -> GatewaySync | None:
        """Return the last client list, None when there is none that can be read."""
        return _read(GatewaySync, self._clients)

    def save_clients(self, clients: GatewaySync) -> None:
        """Keep the client list. Raises OSError."""
        _write(self._clients, encode(clients))


def _read(kind: type[T], path: Path) -> T | None:
    try:
        return decode(kind, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        log.warning("%s can't be read and is ignored: %s", path, error)
        return None


def _write(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: whatever dies meanwhile, either the old or the new is there, whole."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
