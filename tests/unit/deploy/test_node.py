"""What an operator copies to a node fits the program that it starts."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from egress.cni import plugin
from egress.node.config import Config, read_config

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy/sluicegate-node.service"
README = (ROOT / "deploy/README.md").read_text()


@pytest.fixture
def service() -> configparser.SectionProxy:
    # Strict, so that no setting stands there twice.
    unit = configparser.ConfigParser(delimiters="=", interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )


def test_the_sample_is_a_configuration_and_shows_every_setting() -> None:
    path = ROOT / "deploy/agent.json"
    config = read_config(path)
    assert json.loads(path.read_text()).keys() == set(Config.__dataclass_fields__)
    assert (str(config.socket), str(config.namespaces_file)) == (plugin.SOCKET, plugin.NAMESPACES_FILE)


def test_the_services_folders_are_the_samples(service: configparser.SectionProxy) -> None:
    config = read_config(ROOT / "deploy/agent.json")
    assert config.state_dir == f"/var/lib/{service['StateDirectory']}"
    assert config.run_dir == f"/run/{service['RuntimeDirectory']}"


def test_the_command_is_one_that_the_agent_understands(service: configparser.SectionProxy) -> None:
    interpreter, isolated, *arguments, path = shlex.split(service["ExecStart"])
    assert (interpreter, isolated) == ("/opt/sluicegate/bin/python", "-I")
    assert path in README
    started = run(*arguments, "/nowhere/agent.json")
    assert started.returncode == 1
    assert "/nowhere/agent.json: can't be read" in started.stderr


def test_the_modules_and_options_of_the_readme_are_there() -> None:
    commands = re.findall(r"/opt/sluicegate/bin/python (-m .+)", README)
    assert len(commands) == 2
    for command in commands:
        _, module, *arguments = shlex.split(command)
        usage = run("-m", module, "--help").stdout
        for option in (each for each in arguments if each.startswith("--")):
            assert f"{option} " in usage


def test_every_setting_of_the_environment_is_explained() -> None:
    settings = (ROOT / "portal/config/settings.py").read_text()
    known = set(re.findall(r'(?:env\.\w+|= _bounded)\(\s*"([A-Z_]+)"', settings))
    # What only developers and the lab set.
    known -= {
        "DEBUG",
        "TEST_DATABASE",
        "CLOCK_OFFSET_SECONDS",
        "CLOCK_OFFSET_FILE",
        "SLUICEGATE_LAB_SOCKET",
        "SLUICEGATE_SIMULATED",
    }
    explained = {
        name
        for row in re.findall(r"^\| (`[A-Z_`, ]+) \|", README, re.MULTILINE)
        for name in re.findall(r"[A-Z_]+", row)
    }
    assert explained == known


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/sluicegate/bin/python", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert unit.name not in checked.stderr, checked.stderr
