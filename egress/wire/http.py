"""Carry messages to the control plane: HTTPS on one kept connection, standard library only."""

import http.client
import ssl
import urllib.parse
from typing import Any, TypeVar

from .codec import WireError, decode, encode
from .messages import MAX_REPLY_BYTES, PREFIX, ErrorReply

T = TypeVar("T")


class ControlPlaneError(Exception):
    """The control plane can't be reached, or its answer can't be used; try again later."""


class Refused(ControlPlaneError):
    """The control plane answered and said no; `code` says why (`unauthorized`, `window_closed` …)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code} ({status}): {message}")
        self.status = status
        self.code = code


class ControlPlane:
    """One agent's connection to `base_url` (`https://host[:port]`); not safe for use by two threads at once.

    `ca_file` is the PEM bundle to trust; None means the system's.
    """

    def __init__(
        self, base_url: str, *, token: str, ca_file: str | None = None, connect_timeout_seconds: float = 5
    ) -> None:
        parts = urllib.parse.urlsplit(base_url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"the control plane's address must be https://host[:port], not {base_url!r}")
        self.token = token
        self._connect_timeout_seconds = connect_timeout_seconds
        self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname, parts.port or 443, context=ssl.create_default_context(cafile=ca_file)
        )

    def call(self, verb: str, message: object, reply: type[T], *, timeout_seconds: float = 10) -> T:
        """Post `message` to `verb` (such as "nodes/sync") and return its reply.

        Raises Refused for a clear no and ControlPlaneError for everything else that went wrong.
        """
        if not (self.token.isascii() and self.token.isprintable()):
            # The HTTP library would refuse it too, and show it in the error.
            raise ControlPlaneError(f"{verb}: the token holds characters that no token has; its file is damaged")
        try:
            status, body = self._post_again(PREFIX + verb, encode(message), timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ControlPlaneError(f"{verb}: {error or type(error).__name__}") from error
        try:
            if status == http.HTTPStatus.OK:
                return decode(reply, body)
            refusal = decode(ErrorReply, body)
        except WireError as error:
            raise ControlPlaneError(f"{verb}: answer {status} can't be read: {error}") from None
        raise Refused(status, refusal.code, refusal.message)

    def close(self) -> None:
        """Drop the connection; the next call opens a new one."""
        self._connection.close()

    def _post_again(self, path: str, body: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        """Post on the kept connection, or on a new one if the server has closed that, as servers do with idle ones.

        Every verb may be repeated, so it does no harm if the first one had arrived.
        """
        kept = self._connection.sock is not None
        try:
            return self._post(path, body, timeout_seconds)
        except (ConnectionError, ssl.SSLEOFError):
            self.close()
            if not kept:
                raise
            return self._post(path, body, timeout_seconds)

    def _post(self, path: str, body: bytes, timeout_seconds: float) -> tuple[int, bytes]:
        connection: Any = self._connection
        if connection.sock is None:
            connection.timeout = self._connect_timeout_seconds
            connection.connect()
        connection.sock.settimeout(timeout_seconds)
        connection.request(
            "POST", path, body, {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        )
        response = connection.getresponse()
        if response.headers.get("Content-Length", "0").startswith("-"):
            raise http.client.HTTPException("answer of a negative length")
        content = response.read(MAX_REPLY_BYTES + 1)
        if len(content) > MAX_REPLY_BYTES:
            raise http.client.HTTPException(f"answer larger than {MAX_REPLY_BYTES} bytes")
        if response.length:
            # Reading up to a limit doesn't mind an early end; this message isn't whole.
            raise http.client.IncompleteRead(content, response.length)
        return response.status, content
