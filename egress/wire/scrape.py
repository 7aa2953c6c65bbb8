"""Serve an agent's metrics to those who show the token: one small request after another, bounded in size and time."""

import hashlib
import hmac
import io
import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException, parse_headers

from .exposition import CONTENT_TYPE

log = logging.getLogger(__name__)

#: Agents listen here by default.
PORT = 9746
MAX_HEAD_BYTES = 4096
#: From a connection's first moment to the answer's last byte.
REQUEST_SECONDS = 5.0
BACKLOG = 8


class _Refused(Exception):
    """The request gets no metrics."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def token_digest(token: str) -> str:
    """Return what stands for `token` where it needn't be known."""
    return hashlib.sha256(token.encode()).hexdigest()


def serve_one(listener: socket.socket, page: Callable[[], str], digest: str) -> None:
    """Answer the next connection to `listener`, if there is one before its timeout; raise OSError if it is broken.

    `digest` is that of the token to ask for; with "" anybody who reaches the listener is told.
    """
    try:
        connection, (address, _) = listener.accept()
    except TimeoutError:
        return
    with connection:
        try:
            _answer(connection, page, digest)
        except OSError as error:
            log.debug("the metrics don't reach %s: %s", address, error)


def _answer(connection: socket.socket, page: Callable[[], str], digest: str) -> None:
    ends_at = time.monotonic() + REQUEST_SECONDS
    try:
        permit(_head(connection, ends_at), digest)
        status, body = HTTPStatus.OK, page().encode()
    except _Refused as refusal:
        status, body = refusal.status, f"{refusal}\n".encode()
    except OSError:
        raise
    except Exception:  # whatever a page stumbles over, an agent has more important things to do than to end
        log.exception("the metrics can't be shown")
        status, body = HTTPStatus.INTERNAL_SERVER_ERROR, b"see the agent's log\n"
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Length: {len(body)}", "Connection: close"]
    lines.append(f"Content-Type: {CONTENT_TYPE if status is HTTPStatus.OK else 'text/plain'}")
    if status is HTTPStatus.UNAUTHORIZED:
        lines.append("WWW-Authenticate: Bearer")
    connection.settimeout(max(0.1, ends_at - time.monotonic()))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def _head(connection: socket.socket, ends_at: float) -> bytes:
    """Return the request's line and headers. Raises _Refused, and OSError for a sender that takes too long."""
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > MAX_HEAD_BYTES:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        connection.settimeout(max(0.001, ends_at - time.monotonic()))
        piece = connection.recv(MAX_HEAD_BYTES)
        if not piece or time.monotonic() > ends_at:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        head += piece
    return head


def permit(head: bytes, digest: str) -> None:
    """Raise _Refused unless `head` asks for the metrics and has the token whose digest this is."""
    line, _, rest = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):  # noqa: PLR2004 - method, target, version
        raise _Refused(HTTPStatus.BAD_REQUEST)
    try:
        authorization = parse_headers(io.BytesIO(rest)).get("Authorization", "")
    except HTTPException:
        raise _Refused(HTTPStatus.BAD_REQUEST) from None
    scheme, _, token = str(authorization).partition(" ")
    # The token's digest is compared, so that neither its length nor its beginning shows in the time it takes.
    shown = token_digest(token) if scheme.lower() == "bearer" else ""
    if digest and not hmac.compare_digest(shown, digest):
        raise _Refused(HTTPStatus.UNAUTHORIZED)
    if words[0] != b"GET":
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED)
    if words[1].partition(b"?")[0] != b"/metrics":
        raise _Refused(HTTPStatus.NOT_FOUND)
