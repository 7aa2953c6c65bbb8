import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from egress.node import state as state_module
from egress.node.state import State, StateError
from egress.wire.tokens import Tokens

from .rig import route, table

CRASHER = """
import os, sys
from pathlib import Path
from egress.node.state import State
from tests.unit.node.rig import route, table
calls = 0
real = Path.replace, os.fsync
def crash_at(which):
    def call(*arguments):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), 9)
        return real[which](*arguments)
    return call
state = State(Path(sys.argv[1]))
Path.replace, os.fsync = crash_at(0), crash_at(1)
state.save_table(table(route("new", 2), route("kept", 3), revision=2))
print("DONE")
"""


def lines(directory: Path) -> set[str]:
    return set((directory / "namespaces").read_text().splitlines()[1:])


def test_what_was_saved_is_there_again(folder: Path) -> None:
    first = State(folder / "s")
    first.save_credential(Tokens(token="0123456789abcdef"))
    first.save_table(table(route("a"), route("b", 2, state="draining")))
    first.close()
    second = State(folder / "s")
    assert second.credential == first.credential
    assert second.table == first.table
    assert second.listed == {"a"}
    assert [second.must_wait(name) for name in ("a", "b", "c")] == [True, False, False]
    for file in (folder / "s").iterdir():
        if file.name != "lock":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_agent_is_refused(folder: Path) -> None:
    first = State(folder)
    with pytest.raises(StateError, match="another node agent"):
        State(folder)
    first.close()
    State(folder).close()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"epoch": "e"}', b"[" * 100_000])
def test_a_damaged_table_is_as_none_but_its_namespaces_still_wait(folder: Path, content: bytes) -> None:
    first = State(folder)
    first.save_table(table(route("a")))
    first.close()
    (folder / "routes.json").write_bytes(content)
    second = State(folder)
    assert second.table is None
    assert second.must_wait("a")
    assert not second.must_wait("b")


@pytest.mark.parametrize("content", [b"", b"garbage\na\n", b"#e 1\nhalf-a-na", b"#e 1\n\xff\n"])
def test_a_damaged_list_is_written_anew_from_the_table(folder: Path, content: bytes) -> None:
    first = State(folder)
    first.save_table(table(route("a")))
    first.close()
    (folder / "namespaces").write_bytes(content)
    assert State(folder).listed == {"a"}
    assert lines(folder) == {"a"}


def test_without_table_and_with_a_damaged_list_everything_waits(folder: Path) -> None:
    (folder / "namespaces").write_bytes(b"garbage")
    assert State(folder).must_wait("anything")


def test_before_the_first_sync_everything_with_a_name_waits(folder: Path) -> None:
    state = State(folder)
    assert state.must_wait("anything")
    assert not state.must_wait("")


def test_the_first_table_leaves_a_list_even_if_it_names_nobody(folder: Path) -> None:
    state = State(folder)
    state.save_table(table())
    assert lines(folder) == set()
    assert not state.must_wait("anything")


def test_a_lost_list_is_written_anew_from_the_table(folder: Path) -> None:
    first = State(folder)
    first.save_table(table(route("a")))
    first.close()
    (folder / "namespaces").unlink()
    State(folder)
    assert lines(folder) == {"a"}


def test_an_unchanged_list_is_not_written_again(folder: Path) -> None:
    state = State(folder)
    state.save_table(table(route("a")))
    before = (folder / "namespaces").stat().st_ino
    state.save_table(table(route("a"), route("b", 2, state="draining"), revision=2))
    assert (folder / "namespaces").stat().st_ino == before


def test_a_crash_at_any_step_leaves_old_or_new_and_no_namespace_unlisted(folder: Path) -> None:
    """{old, kept} becomes {new, kept}: killed before each fsync and each rename in turn."""
    for step in range(1, 50):
        directory = folder / str(step)
        first = State(directory)
        first.save_table(table(route("old", 1), route("kept", 3)))
        first.close()
        done = subprocess.run(
            [sys.executable, "-c", CRASHER, str(directory), str(step)],
            capture_output=True,
            check=False,
            cwd=Path(__file__).parents[3],
        )
        on_disk = lines(directory)
        again = State(directory)
        assert again.table is not None
        assert again.table.revision in (1, 2)
        active = {"old", "kept"} if again.table.revision == 1 else {"new", "kept"}
        assert active <= on_disk, f"killed at step {step}"
        assert again.listed == active
        again.close()
        if b"DONE" in done.stdout:
            assert step > 6
            return
        assert done.returncode == -9, done.stderr
    raise AssertionError("never done")


def test_a_full_disk_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_module.write_atomic(folder / "file", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state_module.write_atomic(folder / "file", b"new")
    assert (folder / "file").read_bytes() == b"old"
