import json
from pathlib import Path
from typing import Any

import pytest

from egress.lab import image
from egress.lab.droplets import lay_out
from egress.lab.hypervisor import Machine
from egress.lab.image import stand_in
from egress.lab.image.stand_in import write_file
from egress.lab.image.units import UnitError, environment, read_unit, seconds, start_unit

MACHINE = Machine(
    id=7,
    name="gw",
    user_data="#cloud-config\n{}",
    image="ubuntu-24-04-x64",
    public_address="203.0.113.10",
    private_address="10.110.0.100",
)


def unit(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "x.service"
    path.write_text("\n".join(lines))
    return path


def test_a_unit_is_read_as_systemd_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = read_unit(
        unit(
            tmp_path,
            "[Unit]",
            "StartLimitIntervalSec=0",
            "Description=ignored",
            "[Service]",
            "# a comment",
            "Environment=A=1",
            "Environment=B=2",
            "ExecStartPre=/bin/a",
            "ExecStartPre=",
            "ExecStart=/bin/sleep \\",
            "  5",
            "OOMScoreAdjust=-5",
            "[Install]",
            "WantedBy=multi-user.target",
        )
    )
    assert settings["Environment"] == ["A=1", "B=2"]
    assert settings["ExecStart"][0].split() == ["/bin/sleep", "5"]
    assert "ExecStartPre" not in settings
    assert settings["StartLimitIntervalSec"] == ["0"]
    assert "passes over OOMScoreAdjust" in capsys.readouterr().out


def test_a_unit_without_a_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="no ExecStart"):
        read_unit(unit(tmp_path, "[Service]", "Type=simple"))


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("2s", 2), ("100ms", 0.1), ("0", 0)])
def test_time_spans(text: str, value: float) -> None:
    assert seconds(text) == value


def test_an_unknown_time_span_is_refused() -> None:
    with pytest.raises(UnitError, match="5min"):
        seconds("5min")


def test_a_units_environment_has_quotes_and_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "x")
    made = environment('A=1 "B=two words"')
    assert (made["A"], made["B"]) == ("1", "two words")
    assert set(made) == {"A", "B", "PATH", "LANG"}


def test_quotes_that_do_not_end_are_refused() -> None:
    with pytest.raises(UnitError, match="No closing quotation"):
        environment('"A=1')


def test_a_failed_pre_command_keeps_the_unit_from_starting() -> None:
    with pytest.raises(UnitError, match=r"ExecStartPre failed \(1\)"):
        start_unit("x", {"ExecStartPre": ["/bin/false"], "ExecStart": ["/bin/true"]})
    assert start_unit("x", {"ExecStartPre": ["-/bin/false"], "ExecStart": ["/bin/true"]}).wait(30) == 0


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(UnitError, match="/no/such can't be started"):
        start_unit("x", {"ExecStart": ["/no/such"]})


def test_a_fresh_disk_holds_the_seed_and_no_secret_for_others(tmp_path: Path) -> None:
    lay_out(tmp_path, MACHINE)
    user_data = tmp_path / "root/var/lib/cloud/seed/nocloud/user-data"
    assert user_data.read_text() == MACHINE.user_data
    assert user_data.stat().st_mode & 0o077 == 0
    # Over the system's own folders; but its cloud-init's settings are replaced as a whole.
    assert (tmp_path / "usr/bin/systemctl").stat().st_mode & 0o111 == 0o111
    assert (tmp_path / "own/etc/cloud/cloud.cfg").read_text() == image.CLOUD_CFG
    assert json.loads((tmp_path / "usr/local/lib/lab/jobs.json").read_text())
    for name in image.OWN_FOLDERS:
        assert (tmp_path / name).is_dir()
        assert (tmp_path / "own" / name).is_dir()


def test_user_data_is_not_in_the_repr() -> None:
    assert "cloud-config" not in repr(MACHINE)


@pytest.mark.parametrize(
    "entry",
    [
        {"content": "hello"},
        {"content": "aGVsbG8=", "encoding": "b64"},
        {"content": "H4sIAAAAAAAC/8tIzcnJBwCGphA2BQAAAA==", "encoding": "gz+b64"},
    ],
)
def test_the_stand_in_writes_files(tmp_path: Path, entry: dict[str, str]) -> None:
    path = tmp_path / "deep/file"
    write_file({"path": str(path), "permissions": "0640", **entry})
    assert path.read_text() == "hello"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.fixture
def stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stand_in, "USER_DATA", tmp_path / "user-data")
    monkeypatch.setattr(stand_in, "DONE", tmp_path / "done")
    return tmp_path


def user_data(folder: Path, document: dict[str, Any]) -> None:
    (folder / "user-data").write_text("#cloud-config\n" + json.dumps(document))


def test_the_stand_in_runs_once_per_disk(stand_in_files: Path) -> None:
    log = stand_in_files / "log"
    user_data(stand_in_files, {"runcmd": [["sh", "-c", f"echo list >> {log}"], f"echo shell >> {log}"]})
    assert [stand_in.main(), stand_in.main()] == [0, 0]
    assert log.read_text() == "list\nshell\n"


def test_the_stand_in_reports_failed_commands_and_unknown_keys(stand_in_files: Path) -> None:
    user_data(stand_in_files, {"runcmd": [["false"]]})
    assert stand_in.main() == 1
    (stand_in_files / "done").unlink()
    user_data(stand_in_files, {"packages": ["nginx"]})
    assert stand_in.main() == 1
