import os
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from portal.demo.management.commands.demo import a_port, greeting
from portal.demo.management.commands.lab import fault_lines, status_lines

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("8000", 8000), ("65535", 65_535)])
def test_a_port_is_a_number(text: str, port: int) -> None:
    assert a_port(text) == port


@pytest.mark.parametrize("text", ["", "-1", "80a", "65536", "8000.0", "99999999999999999999"])
def test_anything_else_is_no_port(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="a port is a number up to 65535"):
        a_port(text)


def test_the_greeting_has_address_log_ins_and_token() -> None:
    seed = {"customer": "c@x.example", "admin": "a@x.example", "password": "pass-word", "api_token": "sgt_1"}
    lines = greeting(8123, seed).splitlines()
    assert "Sluicegate is running: http://localhost:8123/" in lines
    assert "Customer:  c@x.example  password pass-word" in lines
    assert "Admin:     a@x.example  password pass-word  http://localhost:8123/admin/" in lines
    assert "API token: sgt_1" in lines


def test_a_state_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "manage.py", "demo", "--port", "0"],
        cwd=ROOT, env={**os.environ, "SLUICEGATE_STATE_DIR": str(tmp_path / "file")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told == f"The demo can't go on: [Errno 17] File exists: '{tmp_path / 'file'}'"
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_a_command_minds_it_is_no_traceback() -> None:
    interrupt = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), 2)"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", interrupt],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")


def test_faults_read_well() -> None:
    assert fault_lines([], []) == ["no fault is waiting or stands"]
    lines = fault_lines(
        [{"kind": "slow", "operation": "*", "left": 3}], [{"kind": "hang", "target": "droplet-7", "since": 0.0}]
    )
    assert [line.split() for line in lines] == [["slow", "at", "*", "3", "more"], ["hang", "on", "droplet-7"]]


def test_the_greeting_of_a_simulated_demo_offers_no_packets() -> None:
    seed = {"customer": "c@x.example", "admin": "a@x.example", "password": "pass-word", "api_token": "sgt_1"}
    assert "lab ip" in greeting(8123, seed)
    assert "lab ip" not in greeting(8123, seed, simulated=True)


def test_status_begins_with_what_the_lab_is() -> None:
    lab = {"boots_with": "cloud-init", "observer": "192.0.2.80"}
    status = {"nodes": [], "containers": [], "droplets": []}
    assert status_lines({"lab": lab, **status})[0] == "Droplets boot with cloud-init; the internet is 192.0.2.80"
    simulated = status_lines({"lab": {**lab, "simulated": "No namespaces."}, **status})[0]
    assert simulated == "Simulated: nothing moves, routes are only recorded. No namespaces."
