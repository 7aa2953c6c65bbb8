import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from egress.cni.install import ConflistError, InstallError, conflist_with_plugin, install_plugin, main

PYTHON = Path("/usr/bin/python3")
SOCKET, LIST = Path("/run/x/cni.sock"), Path('/var/lib/with "quotes"/namespaces')


def conflist(*types: str, **more: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": kind} for kind in types], **more}


def types_of(chained: dict[str, Any]) -> list[str]:
    return [plugin["type"] for plugin in chained["plugins"]]


def test_the_command_has_an_absolute_interpreter_and_its_module_is_compiled(folder: Path) -> None:
    path = install_plugin(folder / "bin", interpreter=PYTHON, socket=SOCKET, namespaces_file=LIST)
    assert path == folder / "bin" / "sluicegate"
    assert path.read_text().startswith("#!/usr/bin/python3 -ISE\n")
    assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(file.name for file in path.parent.iterdir()) == [".sluicegate", "sluicegate"]
    assert [file.suffix for file in (path.parent / ".sluicegate/__pycache__").iterdir()] == [".pyc"]
    done = subprocess.run([path], input=b"", env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=True)
    assert json.loads(done.stdout)["supportedVersions"]


def test_nothing_is_imported_that_costs_time(folder: Path) -> None:
    path = install_plugin(folder, interpreter=PYTHON, socket=SOCKET, namespaces_file=LIST)
    done = subprocess.run(
        [PYTHON, "-ISE", "-X", "importtime", path],
        input=b"{}",
        env={"CNI_COMMAND": "DEL"},
        capture_output=True,
        text=False,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.decode().splitlines()}
    assert "sluicegate_cni" in imported
    assert not imported & {"os", "json", "re", "enum", "socket", "site", "typing", "signal"}


def test_the_plugin_runs_wherever_the_runtime_sees_its_folder(folder: Path) -> None:
    install_plugin(folder / "host/bin", interpreter=PYTHON, socket=SOCKET, namespaces_file=LIST)
    (folder / "host").rename(folder / "node")
    done = subprocess.run(
        [folder / "node/bin/sluicegate"], input=b"", env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["supportedVersions"]


def test_a_compiled_module_never_outlives_its_text(folder: Path) -> None:
    path = install_plugin(folder, interpreter=PYTHON, socket=SOCKET, namespaces_file=LIST)
    module = folder / ".sluicegate/sluicegate_cni.py"
    written = module.stat()
    module.write_text(module.read_text().replace('"1.1.0"', '"9.9.9"'))
    os.utime(module, ns=(written.st_atime_ns, written.st_mtime_ns))
    done = subprocess.run([path], input=b"", env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=True)
    assert "9.9.9" in json.loads(done.stdout)["supportedVersions"]


def test_an_interpreter_that_cannot_run_the_plugin_is_refused(folder: Path) -> None:
    with pytest.raises(InstallError, match=r"/bin/false can't compile .*Python 3\.11"):
        install_plugin(folder, interpreter=Path("/bin/false"), socket=SOCKET, namespaces_file=LIST)
    assert not (folder / "sluicegate").exists()


def test_installing_again_replaces_the_file_by_another(folder: Path) -> None:
    first = install_plugin(folder, interpreter=PYTHON, socket=SOCKET, namespaces_file=LIST).stat().st_ino
    assert install_plugin(folder, interpreter=PYTHON, socket=SOCKET, namespaces_file=LIST).stat().st_ino != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interpreter": Path("python3")}, "must be an absolute path"),
        ({"socket": Path("run/cni.sock")}, "must be an absolute path"),
        ({"namespaces_file": Path("list")}, "must be an absolute path"),
        ({"interpreter": Path("/nowhere/python3")}, "can't be executed"),
    ],
)
def test_a_path_that_cannot_work_is_refused(folder: Path, change: dict[str, Path], words: str) -> None:
    with pytest.raises(InstallError, match=words):
        install_plugin(folder, **{"interpreter": PYTHON, "socket": SOCKET, "namespaces_file": LIST, **change})
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["with space", "x" * 200])
def test_an_interpreter_that_no_first_line_can_name_is_refused(folder: Path, name: str) -> None:
    interpreter = folder / name / ("y" * 60)
    interpreter.parent.mkdir()
    interpreter.symlink_to(PYTHON)
    with pytest.raises(InstallError, match="first line"):
        install_plugin(folder / "bin", interpreter=interpreter, socket=SOCKET, namespaces_file=LIST)


@pytest.mark.parametrize("main_plugin", ["ptp", "bridge", "calico"])
def test_the_plugin_comes_right_after_the_main_one(main_plugin: str) -> None:
    before = conflist(main_plugin, "portmap", "bandwidth")
    chained = conflist_with_plugin(before)
    assert types_of(chained) == [main_plugin, "sluicegate", "portmap", "bandwidth"]
    assert types_of(before) == [main_plugin, "portmap", "bandwidth"]
    assert conflist_with_plugin(chained) == chained


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (conflist("ptp", "portmap", "sluicegate"), "must stand right after the main plugin ptp"),
        (conflist("sluicegate", "ptp"), "begins with sluicegate"),
        (conflist("portmap", "ptp"), "main plugin .* must come first"),
        (conflist("ptp", "sluicegate", "sluicegate"), "2 times"),
        (conflist(), "list of 1 to 50"),
        (conflist("ptp", cniVersion="0.2.0"), "cniVersion is '0.2.0'"),
        (conflist("ptp", cniVersion=1), "cniVersion is 1"),
        (conflist("ptp", name=""), "no name"),
        (conflist("ptp", plugins={}), "list of 1 to 50"),
        (conflist("ptp", plugins=["ptp"]), "object with a type"),
        ({"cniVersion": "1.0.0", "name": "x", "type": "ptp"}, "single network configuration"),
    ],
)
def test_a_mistake_in_a_conflist_is_named(mistake: dict[str, Any], words: str) -> None:
    with pytest.raises(ConflistError, match=words):
        conflist_with_plugin(mistake)


def run(folder: Path, *arguments: str, synced: bool = True) -> int:
    listed = folder / "namespaces"
    if synced:
        listed.write_text("#epoch-1 1\n")
    return main(["--bin-dir", str(folder / "bin"), "--namespaces-file", str(listed), *arguments])


def test_the_command_installs_and_chains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "10-pods.conflist"
    path.write_text(json.dumps(conflist("ptp", name="pöds")))
    path.chmod(0o640)
    assert run(folder, "--conflist", str(path)) == 0
    assert types_of(json.loads(path.read_text())) == ["ptp", "sluicegate"]
    assert path.stat().st_mode & 0o777 == 0o640
    written = path.stat().st_ino
    assert run(folder, "--conflist", str(path)) == 0
    assert path.stat().st_ino == written
    out = capsys.readouterr().out
    assert f"{path}: chained\n" in out
    assert f"{path}: was chained already\n" in out


def test_a_node_that_has_not_synced_is_left_as_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "10-pods.conflist"
    path.write_text(json.dumps(conflist("ptp")))
    assert run(folder, "--conflist", str(path), synced=False) == 1
    assert f"{folder}/namespaces is missing" in capsys.readouterr().err
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert types_of(json.loads(path.read_text())) == ["ptp"]


def test_the_plugin_alone_can_be_installed_before_the_first_sync(folder: Path) -> None:
    assert run(folder, synced=False) == 0
    assert (folder / "bin" / "sluicegate").exists()


@pytest.mark.parametrize(("content", "words"), [("{", "not JSON"), ("[]", "not a JSON object"), ("{}", "cniVersion")])
def test_the_command_names_file_and_mistake_and_leaves_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    path = folder / "10-pods.conflist"
    path.write_text(content)
    assert run(folder, "--conflist", str(path)) == 1
    error = capsys.readouterr().err
    assert str(path) in error
    assert words in error
    assert path.read_text() == content


def test_the_command_works_as_a_module(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "egress.cni.install", "--bin-dir", "/proc/nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "/proc/nowhere/.sluicegate/sluicegate_cni.py: can't be written" in done.stderr
