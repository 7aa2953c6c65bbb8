import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portal.demo.errors import StackError
from portal.demo.folder import ENVIRONMENT, LOCK, MARK, StateFolder, end_remains, marked

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_it_is_made_and_taken(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "a" / "b")
    folder.take()
    assert (tmp_path / "a" / "b" / LOCK).exists()
    folder.release()


def test_what_an_earlier_run_left_is_emptied(tmp_path: Path) -> None:
    first = StateFolder(tmp_path)
    first.take()
    (tmp_path / "lab" / "nodes").mkdir(parents=True)
    (tmp_path / "web.log").write_text("old")
    outside = tmp_path.with_name(tmp_path.name + "-outside")
    outside.mkdir()
    (outside / "kept").write_text("")
    (tmp_path / "link").symlink_to(outside)
    first.release()

    second = StateFolder(tmp_path)
    second.take()

    assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]
    assert (outside / "kept").exists()
    second.release()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").write_text("years of work")
    with pytest.raises(StackError, match=r"holds files that no demo made, such as thesis.odt: move them away"):
        StateFolder(tmp_path).take()
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.odt"]


def test_two_at_once_are_refused_and_the_first_keeps_its_files(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path), StateFolder(tmp_path)
    first.take()
    first.write_private(ENVIRONMENT, "A=1\n")
    with pytest.raises(StackError, match=r"Another demo is running in .*: stop it first"):
        second.take()
    second.release()
    assert (tmp_path / ENVIRONMENT).read_text() == "A=1\n"
    first.release()
    assert not (tmp_path / ENVIRONMENT).exists()
    second.take()
    second.release()


def test_what_it_writes_is_its_owners_only(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write_private("token", "secret")
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.make("tmp").stat().st_mode) == 0o700


def test_remains_are_those_that_bear_the_folders_mark(tmp_path: Path) -> None:
    with (
        subprocess.Popen(SLEEP, env={**os.environ, MARK: str(tmp_path)}) as remains,
        subprocess.Popen(SLEEP, env={**os.environ, MARK: f"{tmp_path}-2"}) as other,
    ):
        try:
            assert remains.pid in list(marked(tmp_path))
            assert other.pid not in list(marked(tmp_path))
            end_remains(tmp_path)
            assert remains.wait(30) == -signal.SIGKILL
            assert list(marked(tmp_path)) == []
            assert other.poll() is None
        finally:
            remains.kill()
            other.kill()
