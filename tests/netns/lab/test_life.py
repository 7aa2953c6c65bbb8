"""The lab's beginning and end: nothing of it outlives its process, and the next one starts in the same folder."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from egress.lab.client import LabClient, NotRunning

from .conftest import Lab, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni]


#: Named namespaces of other tests, which may run beside this one; the lab's own have other names.
OTHERS = "sgt-"


def host_state() -> tuple[list[str], str, list[str], list[str]]:
    """Return the host's namespaces, links, /run and mounts, without what other tests make meanwhile."""
    named = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    namespaces = [line for line in named.splitlines() if not line.startswith(OTHERS)]
    links = subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True).stdout
    entries = sorted(entry.name for entry in Path("/run").iterdir() if entry.name != "netns")
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " /run/netns" not in line]
    return namespaces, links, entries, mounts


def test_a_killed_lab_leaves_nothing_and_the_next_one_starts(own_lab: Lab) -> None:
    host = host_state()
    own_lab.client.start_container("shop", node="node-1")
    own_lab.client.start_container("shop", node="node-2")
    status, _ = own_lab.api(
        "POST", "droplets", {"name": "d", "region": "fra1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"}
    )
    assert status == 202
    wait_for("the Droplet runs", lambda: [d for d in own_lab.client.status()["droplets"] if d["state"] == "on"])
    pids = own_lab.processes()
    assert len(pids) >= 3
    assert host_state() == host, "a running lab shows on the host"

    own_lab.kill()
    wait_for("its processes are gone", lambda: not own_lab.processes())
    assert host_state() == host
    with pytest.raises(NotRunning, match=r"start \./dev demo first"):
        own_lab.client.status()

    own_lab.start()
    assert own_lab.client.status()["containers"] == []
    own_lab.client.start_container("shop", node="node-1")
    assert own_lab.client.ip("shop") == "198.51.100.21"


def test_stop_ends_it_in_order(own_lab: Lab) -> None:
    assert own_lab.process
    own_lab.client.stop()
    assert own_lab.process.wait(30) == 0
    assert not (own_lab.state / "lab.sock").exists()
    wait_for("its processes are gone", lambda: not own_lab.processes())


def test_sigterm_to_its_group_ends_it_in_order(own_lab: Lab) -> None:
    assert own_lab.process
    os.killpg(own_lab.process.pid, 15)
    assert own_lab.process.wait(30) == 0
    wait_for("its processes are gone", lambda: not own_lab.processes())


def test_the_control_plane_can_be_served_from_outside(own_lab: Lab) -> None:
    """control 198.51.100.80 ── internet ── 203.0.113.1 (the Droplets' router)"""
    assert own_lab.process
    place = f"/proc/{own_lab.process.pid}/root/run/netns/control"
    addresses = subprocess.run(
        ["nsenter", f"--net={place}", "ip", "-br", "address"], check=True, capture_output=True, text=True
    ).stdout
    assert "198.51.100.80/24" in addresses
    server = subprocess.Popen(
        ["nsenter", f"--net={place}", sys.executable, "-m", "http.server", "443", "--bind", "198.51.100.80"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=own_lab.state,
    )  # fmt: skip
    try:
        fetch = "import urllib.request as u; print(u.urlopen('http://198.51.100.80:443/', timeout=5).status)"
        for where in ("node-1", "node-2", "observer"):
            wait_for(
                f"{where} reaches it",
                lambda where=where: own_lab.client.exec(where, ["python3", "-c", fetch]).stdout == "200\n",
            )
    finally:
        server.kill()
        server.wait(30)


def test_the_control_socket_and_the_tokens_are_their_owners_only(own_lab: Lab) -> None:
    for name in ("lab.sock", "lab.json", "tls"):
        assert stat.S_IMODE((own_lab.state / name).stat().st_mode) & 0o077 == 0, name
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own_lab.processes()]
    assert not any(b"lab-token" in command for command in commands)


def test_without_namespaces_of_its_own_it_refuses(own_lab: Lab) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "egress.lab", "--config", str(own_lab.state / "lab.json")],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert refused.returncode == 2
    assert "start it with unshare --" in refused.stderr


def test_a_client_without_a_lab_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"no lab runs at .*: start \./dev demo first"):
        LabClient(tmp_path / "lab.sock").status()
