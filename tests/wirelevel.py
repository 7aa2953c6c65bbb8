"""Agents played at wire level: HTTP/1.1 on raw asyncio streams, so that hundreds of them cost next to nothing."""

import asyncio
from typing import TypeVar

from egress.wire.codec import WireError, decode, encode
from egress.wire.messages import PREFIX, ErrorReply

T = TypeVar("T")

CONNECT_SECONDS = 10
ANSWER_SECONDS = 30


class Refused(Exception):
    """The control plane said no."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


class Broken(Exception):
    """There was no usable answer: the server is away, or died on the way."""


class Line:
    """One kept connection; `source` is the address that it comes from, `scheme` goes before tokens."""

    def __init__(self, host: str, port: int, *, source: str = "", scheme: str = "Bearer") -> None:
        self._where = host, port
        self._scheme = scheme
        self._source = (source, 0) if source else None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, verb: str, token: str, message: object, reply: type[T], *, wait_seconds: float = 0) -> T:
        """Post `message` to an agents' verb. Raises Refused, Broken."""
        status, body = await self.request("POST", PREFIX + verb, token, encode(message), wait_seconds=wait_seconds)
        try:
            if status == 200:
                return decode(reply, body)
            raise Refused(status, decode(ErrorReply, body).code)
        except WireError as error:
            raise Broken(f"{verb}: {status}: {error}") from None

    async def request(
        self, method: str, path: str, token: str, body: bytes = b"", *, wait_seconds: float = 0
    ) -> tuple[int, bytes]:
        """Return an answer's status and body; it may take `wait_seconds` longer than others. Raises Broken."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS + wait_seconds):
                return await self._request(method, path, token, body)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.close()
            raise Broken(f"{method} {path}: {type(error).__name__} {error}") from error
        except asyncio.CancelledError:
            self.close()
            raise

    async def _request(self, method: str, path: str, token: str, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._where, local_addr=self._source)
        reader, writer = self._streams
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._where[0]}\r\nAuthorization: {self._scheme} {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        content = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), content

    def close(self) -> None:
        """Drop the connection; the next request opens a new one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
