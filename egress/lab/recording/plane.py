"""The stand-ins' way to the control plane: a unix socket that only the demo's owner can reach.

No address can be seen on it, and enrolment wants the gateway's own: so each says its address in a header, as a
proxy that ends TLS would.
"""

import http.client
import socket
from collections.abc import Mapping
from typing import Any

from egress.wire.http import ControlPlane

CONNECT_SECONDS = 5


class RelayedControlPlane(ControlPlane):
    """The control plane behind the unix socket at `path`, as seen from `address`."""

    def __init__(self, path: str, address: str) -> None:
        super().__init__("https://localhost", token="")
        self._connection = _Connection(path, address)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, address: str) -> None:
        super().__init__("localhost", timeout=CONNECT_SECONDS)
        self._path = path
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CONNECT_SECONDS)
        self.sock.connect(self._path)

    def request(
        self, method: str, url: str, body: Any = None, headers: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        super().request(method, url, body, {**(headers or {}), "X-Forwarded-For": self._address}, **options)
