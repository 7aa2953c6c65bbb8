"""The lab's control socket: a line of JSON in, lines of JSON out.

Request {"command": …, "arguments": {…}}. Answer {"result": …} or {"error": message, "code": code}; before it, `exec`
sends {"stdout": text} and {"stderr": text} as they come. One request at a time on a connection. A caller that goes
away ends what it has started with `exec`.
"""

import asyncio
import codecs
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import BadRequest, LabError
from .hypervisor import HypervisorError
from .process import kill_group, spawn

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
#: Gets the arguments and a way to send lines before the answer.
Command = Callable[[dict[str, Any], Send], Awaitable[Any]]
MAX_REQUEST_BYTES = 64 * 1024
MAX_CALLERS = 100
_CHUNK_BYTES = 16 * 1024


class ControlServer:
    """Serves `commands` on a unix socket that only its owner may use."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._callers = 0

    async def serve(self) -> None:
        """Serve until cancelled. A socket file left by a killed lab is replaced."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._caller, path=self._path, limit=MAX_REQUEST_BYTES)
        finally:
            os.umask(before)
        try:
            await server.serve_forever()
        finally:
            self._path.unlink(missing_ok=True)

    async def _caller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(line: Mapping[str, Any]) -> None:
            writer.write(json.dumps(line).encode() + b"\n")
            await writer.drain()

        self._callers += 1
        try:
            if self._callers > MAX_CALLERS:
                await send({"error": f"more than {MAX_CALLERS} callers at once: try again", "code": "busy"})
                return
            with contextlib.suppress(ConnectionError):
                while await self._one(reader, send):
                    pass
        finally:
            self._callers -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, send: Send) -> bool:
        try:
            line = await reader.readuntil()
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            await send(_refusal(BadRequest(f"a request takes at most {MAX_REQUEST_BYTES} bytes")))
            return False
        # A caller sends nothing while it waits: a read that ends means that it has gone.
        work = asyncio.create_task(self._answer(line, send))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return False
            await send(work.result())
            return not gone.done()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    def _command(self, name: str) -> Command:
        if name not in self._commands:
            raise BadRequest(f"the lab knows no command {name!r}: {', '.join(sorted(self._commands))}")
        return self._commands[name]

    async def _answer(self, line: bytes, send: Send) -> Mapping[str, Any]:
        try:
            name, arguments = _parse(line)
            return {"result": await self._command(name)(arguments, send)}
        except HypervisorError as error:
            return _refusal(LabError(str(error)))
        except LabError as error:
            return _refusal(error)
        except ConnectionError:
            raise
        except Exception:
            logging.getLogger(__name__).exception("a command failed")
            return {"error": "the lab failed at this command: see its log", "code": "internal"}


async def stream(command: list[str], send: Send, *, limit_seconds: float) -> int:
    """Run `command`, send its output as it comes, return its exit code. Raises LabError when it takes too long."""
    process = await spawn(command)
    assert process.stdout
    assert process.stderr

    async def forward(name: str, reader: asyncio.StreamReader) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := await reader.read(_CHUNK_BYTES):
            if text := decoder.decode(chunk):
                await send({name: text})

    try:
        async with asyncio.timeout(limit_seconds):
            await asyncio.gather(forward("stdout", process.stdout), forward("stderr", process.stderr))
            return await process.wait()
    except TimeoutError:
        raise LabError(f"the command didn't end within {limit_seconds:g} s: it was killed", code="timed_out") from None
    finally:
        await kill_group(process)


def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
        name, arguments = request["command"], request.get("arguments", {})
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadRequest('a request is {"command": …, "arguments": {…}}') from None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise BadRequest("the command must be a string, its arguments an object")
    return name, arguments


def _refusal(error: LabError) -> Mapping[str, Any]:
    return {"error": str(error), "code": error.code}
