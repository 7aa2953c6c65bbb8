"""The user data: what a stock image gets to become a gateway."""

import base64
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import egress
from egress.gateway.config import load_config
from egress.gateway.userdata import (
    AGENT_PATH,
    APT_PATH,
    CA_PATH,
    CONFIG_PATH,
    MAX_BYTES,
    SYSCTL_PATH,
    UNIT_PATH,
    UserData,
    UserDataTooLarge,
    agent_archive,
    gateway_user_data,
)

SECRET = "the-secret-of-one-gateway-only"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
WANTED = UserData(
    gateway_id="0192-gw",
    enrolment_secret=SECRET,
    control_plane_url="https://198.51.100.80:8443",
    ca_pem=PEM,
    vpc="10.110.0.0/20",
)


def document(wanted: UserData = WANTED) -> dict[str, Any]:
    text = gateway_user_data(wanted)
    assert text.startswith("#cloud-config\n")
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def files(wanted: UserData = WANTED) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in document(wanted)["write_files"]}


def test_the_same_input_gives_the_same_user_data() -> None:
    fresh = "from tests.unit.gateway.test_userdata import *; print(gateway_user_data(WANTED), end='')"
    elsewhere = subprocess.run([sys.executable, "-c", fresh], capture_output=True, text=True, check=True, timeout=60)
    assert gateway_user_data(WANTED) == elsewhere.stdout


def test_there_is_room_left_for_a_ca_bundle() -> None:
    assert len(gateway_user_data(replace(WANTED, ca_pem=""))) < MAX_BYTES * 4 / 5


def test_too_large_a_ca_bundle_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserDataTooLarge, match="too many: the CA bundle has 60000; give only the CAs"):
        gateway_user_data(replace(WANTED, ca_pem="x" * 60_000))


def test_the_secret_is_in_one_file_for_root_only() -> None:
    assert gateway_user_data(WANTED).count(SECRET) == 1
    config = files()[CONFIG_PATH]
    assert SECRET in config["content"]
    assert config["permissions"] == "0600"
    assert SECRET not in repr(WANTED)


def test_the_agent_reads_the_configuration_that_user_data_writes(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(files()[CONFIG_PATH]["content"])
    config = load_config(path)
    assert config.gateway_id == WANTED.gateway_id
    assert config.enrolment_secret == SECRET
    assert config.ca_file == CA_PATH
    assert files()[CA_PATH]["content"] == PEM


def test_without_a_ca_bundle_the_systems_is_used(tmp_path: Path) -> None:
    written = files(replace(WANTED, ca_pem=""))
    assert CA_PATH not in written
    assert json.loads(written[CONFIG_PATH]["content"])["ca_file"] == ""


def test_forwarding_is_not_switched_on_by_sysctl() -> None:
    assert "ip_forward =" not in files()[SYSCTL_PATH]["content"]
    assert "ip_forward" not in json.dumps(document()["runcmd"])


def test_nothing_is_downloaded_or_installed() -> None:
    parsed = document()
    assert set(parsed) == {"write_files", "runcmd"}
    assert [command[0] for command in parsed["runcmd"]] == ["sysctl", "systemctl", "systemctl", "systemctl"]


def test_nothing_updates_or_reboots_the_machine_by_itself(tmp_path: Path) -> None:
    """Read by apt itself, after what Ubuntu ships."""
    shipped = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'
    reboots = 'Unattended-Upgrade::Automatic-Reboot "true";\n'
    for name, content in {
        "20auto-upgrades": shipped,
        "50unattended-upgrades": reboots,
        Path(APT_PATH).name: files()[APT_PATH]["content"],
    }.items():
        (tmp_path / name).write_text(content)
    if not shutil.which("apt-config"):
        pytest.skip("needs apt-config")
    own = tmp_path / "apt.conf"
    own.write_text(f'Dir::Etc::parts "{tmp_path}"; Dir::Etc::main "/dev/null";')
    command = ["apt-config", "dump", "--format=%f=%v%n"]
    environment = {**os.environ, "APT_CONFIG": str(own)}
    read = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout
    assert {line for line in read.splitlines() if line.startswith(("APT::Periodic::", "Unattended-Upgrade::"))} == {
        "APT::Periodic::Enable=0",
        "APT::Periodic::Update-Package-Lists=0",
        "APT::Periodic::Unattended-Upgrade=0",
        "Unattended-Upgrade::Automatic-Reboot=false",
    }
    masked = next(command for command in document()["runcmd"] if command[:3] == ["systemctl", "mask", "--now"])
    assert masked[3:] == ["apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"]


def test_the_archive_holds_the_messages_and_the_agent_and_nothing_else() -> None:
    content = gzip.decompress(base64.b64decode(files()[AGENT_PATH]["content"]))
    assert content == agent_archive()
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert all(re.fullmatch(r"__main__\.py|egress/__init__\.py|egress/(wire|gateway)/\w+\.py", name) for name in names)
    assert "egress/gateway/agent.py" in names
    assert "egress/gateway/userdata.py" not in names


def test_the_archive_runs_on_the_systems_python_alone(tmp_path: Path) -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs /usr/bin/python3")
    archive = tmp_path / "gateway.pyz"
    archive.write_bytes(agent_archive())
    bare = ["/usr/bin/python3", "-I", "-S", str(archive)]
    shown = subprocess.run([*bare, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert "--config" in shown.stdout
    refused = subprocess.run(
        [*bare, "--config", str(tmp_path / "none.json")], capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode == 1
    assert "none.json can't be used" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_cloud_inits_own_schema_accepts_it(tmp_path: Path) -> None:
    if not shutil.which("cloud-init"):
        pytest.skip("needs cloud-init")
    path = tmp_path / "user-data"
    path.write_text(gateway_user_data(WANTED))
    checked = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / Path(UNIT_PATH).name
    unit.write_text(files()[UNIT_PATH]["content"])
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    assert unit.name not in checked.stderr, checked.stderr


def test_the_agent_carries_the_projects_version(tmp_path: Path) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "egress.__version__"}
    archive = tmp_path / "gateway.pyz"
    archive.write_bytes(agent_archive())
    ask = "import sys; sys.path.insert(0, sys.argv[1]); import egress.gateway.agent as a; print(a.__version__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ask, str(archive)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == egress.__version__
