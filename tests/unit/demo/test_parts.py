"""Real processes, of no use but to be started and ended."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.demo import parts as room
from portal.demo.errors import StackError
from portal.demo.parts import Part, Parts, end_with_parent

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    running = Parts(tmp_path, directory=tmp_path)
    yield running
    running.stop_all(last=())


def python(program: str, **options: object) -> Part:
    return Part(command=(sys.executable, "-I", "-c", program), **options)  # type: ignore[arg-type]


def sleeper(path: Path, before: str = "") -> Part:
    """Return a part that makes the file `path` once it is up, and then does nothing."""
    program = (
        f"import pathlib, signal, subprocess, time\n{before}\npathlib.Path({str(path)!r}).touch(); time.sleep(600)"
    )
    return python(program, ready=path.exists)


def test_a_part_is_awaited_and_ended(parts: Parts, tmp_path: Path) -> None:
    parts.start("a", sleeper(tmp_path / "up"), ENVIRONMENT)
    pid = parts.pid("a")
    assert parts.dead() == []
    parts.stop("a")
    assert not Path(f"/proc/{pid}").exists()
    parts.stop("a")


def test_what_it_writes_is_in_its_log(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("before\n")
    parts.start("a", python("print('hello', flush=True); open('up', 'w'); input()", ready=(tmp_path / "up").exists), {})
    assert parts.log("a").read_text().startswith("before\nhello\n")


def test_one_that_ends_before_it_is_up_is_told_with_its_last_words(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"a did not come up; the end of .*a.log:\nno such table"):
        parts.start("a", python("raise SystemExit('no such table')", ready=lambda: False), ENVIRONMENT)


def test_waiting_is_given_up_when_cancelled(tmp_path: Path) -> None:
    parts = Parts(tmp_path, directory=tmp_path, cancelled=lambda: True)
    with pytest.raises(StackError, match="Stopped while starting"):
        parts.start("a", python("input()", ready=lambda: False), ENVIRONMENT)
    parts.stop_all(last=())


def test_one_that_ended_by_itself_is_dead_and_can_be_started_again(parts: Parts, tmp_path: Path) -> None:
    parts.start("a", sleeper(tmp_path / "up"), ENVIRONMENT)
    first = parts.pid("a")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: parts.dead() == ["a"])
    parts.start("a", sleeper(tmp_path / "up"), ENVIRONMENT)
    assert parts.dead() == []
    assert parts.pid("a") != first


def test_one_that_ignores_sigterm_is_killed_with_its_children(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    stubborn = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(child)!r}, "w").write(str(subprocess.Popen(["sleep", "600"]).pid))"""
    parts.start("a", sleeper(tmp_path / "up", stubborn), ENVIRONMENT)
    with monkeypatch.context() as patch:
        patch.setattr(room, "STOP_SECONDS", 1)
        parts.stop("a")
    wait_until(lambda: not is_running(int(child.read_text())))


def test_those_that_others_need_end_last(parts: Parts, tmp_path: Path) -> None:
    said = tmp_path / "said"
    for name in ("base", "user"):
        farewell = f"""
def end(*_):
    open({str(said)!r}, "a").write({name!r} + " ")
    raise SystemExit
signal.signal(signal.SIGTERM, end)"""
        parts.start(name, sleeper(tmp_path / name, farewell), ENVIRONMENT)
    parts.stop_all(last=("base",))
    assert said.read_text() == "user base "


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_machine_without_setpriv_runs_parts_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert end_with_parent()[0] == "setpriv"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_with_parent() == []
