"""The socket: what comes in from programs that aren't the plugin."""

import asyncio
import json
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from egress.node import cni_server
from egress.node.cni_protocol import Answer
from egress.node.cni_server import CniServer


async def echo(env: Mapping[str, str], stdin: bytes) -> Answer:
    return Answer(0, json.dumps([dict(env), stdin.decode()]).encode())


def served(
    folder: Path,
    talk: Callable[[Path], Awaitable[None]],
    answer: cni_server.Handler = echo,
    missed: Callable[[], None] = lambda: None,
) -> None:
    async def run() -> None:
        server = CniServer(folder / "run" / "cni.sock", answer, missed)
        await server.start()
        try:
            await talk(folder / "run" / "cni.sock")
        finally:
            await server.close()

    asyncio.run(asyncio.wait_for(run(), 60))


async def ask(path: Path, request: bytes, *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\n")
    assert head == b"SG1 1 %d" % len(body)
    content: dict[str, object] = json.loads(body)
    return content


def test_a_call_is_answered(folder: Path) -> None:
    async def talk(path: Path) -> None:
        assert mode(path) == 0o600
        body = b'[{"CNI_COMMAND": "ADD", "PATH": "/bin"}, "{}"]'
        assert await ask(path, b"SG1 25 2\nCNI_COMMAND=ADD\0PATH=/bin{}") == b"SG1 0 %d\n" % len(body) + body

    served(folder, talk)


@pytest.mark.parametrize(
    ("request_bytes", "code", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 6, "doesn't begin with"),
        (b"SG2 1 1\n", 6, "doesn't begin with"),
        (b"SG1 -1 1\n", 6, "doesn't begin with"),
        (b"A" * 1000, 6, "too long"),
        (b"SG1 65537 0\n", 6, "too large"),
        (b"SG1 0 1048577\n", 6, "too large"),
        (b"SG1 3 0\n\xff\xfe\xfd", 4, "environment"),
        (b"SG1 3 0\nabc", 4, "environment"),
    ],
)
def test_garbage_gets_a_clear_error(folder: Path, request_bytes: bytes, code: int, words: str) -> None:
    async def talk(path: Path) -> None:
        answer = refusal(await ask(path, request_bytes))
        assert (answer["code"], words in str(answer["msg"])) == (code, True)
        assert (await ask(path, b"SG1 0 0\n")).startswith(b"SG1 0 ")

    served(folder, talk)


def test_a_request_cut_short_disturbs_nobody(folder: Path) -> None:
    async def talk(path: Path) -> None:
        for request in (b"", b"SG", b"SG1 10 10\nabc"):
            assert await ask(path, request, end=True) == b""
        assert (await ask(path, b"SG1 0 0\n")).startswith(b"SG1 0 ")

    served(folder, talk)


def test_a_client_that_stalls_is_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_server, "READ_SECONDS", 0.2)

    async def talk(path: Path) -> None:
        answer = await ask(path, b"SG1 10 10\nabc")
        assert answer == b""

    served(folder, talk)


def test_a_call_that_takes_too_long_is_to_be_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_server, "ANSWER_SECONDS", 0.2)

    async def never(_env: Mapping[str, str], _stdin: bytes) -> Answer:
        await asyncio.sleep(60)
        return Answer()

    async def talk(path: Path) -> None:
        assert refusal(await ask(path, b"SG1 0 0\n"))["code"] == 11

    served(folder, talk, never)


def test_a_fault_of_the_agents_is_one_calls_trouble(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def faulty(_env: Mapping[str, str], stdin: bytes) -> Answer:
        if stdin:
            raise RuntimeError("fault")
        return Answer()

    async def talk(path: Path) -> None:
        assert refusal(await ask(path, b"SG1 0 1\nx"))["code"] == 11
        assert await ask(path, b"SG1 0 0\n") == b"SG1 0 0\n"

    served(folder, talk, faulty)
    assert "CNI None failed" in caplog.text


def test_beyond_the_bound_callers_are_turned_away_without_an_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni_server, "MAX_CALLS", 2)
    hold = asyncio.Event()

    async def held(_env: Mapping[str, str], _stdin: bytes) -> Answer:
        await hold.wait()
        return Answer()

    async def talk(path: Path) -> None:
        waiting = [asyncio.ensure_future(ask(path, b"SG1 0 0\n")) for _ in range(5)]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        while len(pending) > 2:
            more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert [task.result() for task in done] == [b"", b"", b""]
        hold.set()
        assert await asyncio.gather(*pending) == [b"SG1 0 0\n"] * 2

    served(folder, talk, held)


def test_a_stale_socket_is_replaced_and_none_is_left(folder: Path) -> None:
    (folder / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "run" / "cni.sock"))

    async def talk(path: Path) -> None:
        assert await ask(path, b"SG1 0 0\n")

    served(folder, talk)
    assert list((folder / "run").iterdir()) == []


def test_who_has_hung_up_is_not_answered_but_counts_as_missed(folder: Path) -> None:
    """As after a freeze: the runtime has gone on, and what it asked for then may be undone by now."""
    answered: list[str] = []
    known = asyncio.Event()

    async def note(env: Mapping[str, str], _stdin: bytes) -> Answer:
        answered.append(env["CNI_COMMAND"])
        return Answer()

    async def talk(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(path))
            gone.sendall(b"SG1 15 0\nCNI_COMMAND=ADD")
        await known.wait()
        await ask(path, b"SG1 15 0\nCNI_COMMAND=DEL", end=True)

    served(folder, talk, note, known.set)
    assert answered == ["DEL"]


def test_who_is_turned_away_counts_as_missed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_server, "MAX_CALLS", 0)
    missed: list[None] = []

    async def talk(path: Path) -> None:
        assert await ask(path, b"SG1 0 0\n") == b""

    served(folder, talk, missed=lambda: missed.append(None))
    assert len(missed) == 1
