"""The unix socket that the CNI plugin calls."""

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from .cni_protocol import BAD_INPUT, MAX_HEAD_BYTES, TRY_LATER, Answer, CniError, error_answer, parse_env, parse_head

log = logging.getLogger(__name__)
MAX_CALLS = 64
READ_SECONDS = 5.0
#: The plugin waits 5 s; what comes later is done for nobody.
ANSWER_SECONDS = 10.0

Handler = Callable[[Mapping[str, str], bytes], Awaitable[Answer]]


class CniServer:
    """Serve `answer` on a socket that only root may call.

    `missed` is called when a call can't be answered any more, or isn't let in: what the runtime did then nobody told.
    """

    def __init__(self, path: Path, answer: Handler, missed: Callable[[], None]) -> None:
        self._path = path
        self._answer = answer
        self._missed = missed
        self._calls = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket left by an earlier agent is replaced. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        listening = await asyncio.to_thread(_listen, self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=64 * 1024)

    async def close(self) -> None:
        """Stop listening and take the socket away."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._calls += 1
        try:
            # Beyond the bound no answer is the answer: the plugin then does what it does without an agent.
            if self._calls <= MAX_CALLS:
                answer = await self._reply(reader, writer.get_extra_info("socket").fileno())
                if answer is None:
                    self._missed()
                    return
                writer.write(answer.frame())
                async with asyncio.timeout(READ_SECONDS):
                    await writer.drain()
            else:
                self._missed()
                log.warning("more than %d calls of the CNI plugin at once; one is turned away", MAX_CALLS)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.warning("a call on %s broke off: %s", self._path, error or type(error).__name__)
        finally:
            self._calls -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _reply(self, reader: asyncio.StreamReader, caller: int) -> Answer | None:
        """Return the answer; None to who has hung up, for the runtime went on without, maybe to undo it all."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                env, stdin = await _read(reader)
        except CniError as error:
            log.warning("garbage on %s: %s", self._path, error)
            return error_answer(error)
        if _has_hung_up(caller):
            log.warning("CNI %s of %s came too late", env.get("CNI_COMMAND"), env.get("CNI_CONTAINERID", "?")[:128])
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._answer(env, stdin)
        except TimeoutError:
            return error_answer(CniError(TRY_LATER, f"the node agent wasn't done after {ANSWER_SECONDS:g} s"))
        except Exception:
            # Whatever went wrong in one call, the next one is to be answered.
            log.exception("CNI %s failed", env.get("CNI_COMMAND"))
            return error_answer(CniError(TRY_LATER, "the node agent failed", "its log says more"))


def _has_hung_up(descriptor: int) -> bool:
    """Return whether the other end of a unix socket is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLHUP comes unasked
    return bool(poll.poll(0))


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = b""
    while not head.endswith(b"\n"):
        if len(head) > MAX_HEAD_BYTES:
            raise CniError(BAD_INPUT, "the request's first line is too long")
        head += await reader.readexactly(1)
    env_bytes, stdin_bytes = parse_head(head)
    return parse_env(await reader.readexactly(env_bytes)), await reader.readexactly(stdin_bytes)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at `path`, in place of whatever socket was there."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(temporary))
        temporary.chmod(0o600)
        listening.listen(MAX_CALLS)
        os.replace(temporary, path)  # noqa: PTH105 - beside bind, which takes a string too
    except BaseException:
        listening.close()
        raise
    return listening
