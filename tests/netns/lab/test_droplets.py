"""Droplets: the cloud API's switches, and what a machine's user data finds inside.

Droplet eth0 203.0.113.x ── internet ── observer
        eth1 10.110.0.x ─── VPC ─────── nodes
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from egress.lab.client import LabError

from .conftest import Lab, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni]

UNIT = """[Unit]
Description=counts its starts
[Service]
Type=simple
Environment=WHO=unit "MORE=a b"
ExecStart=/bin/sh -c 'echo "$WHO $MORE" >> /var/starts; exec sleep 1000'
Restart=always
RestartSec=100ms
ProtectHome=yes
[Install]
WantedBy=multi-user.target
"""
USER_DATA = "#cloud-config\n" + json.dumps(
    {
        "write_files": [
            {"path": "/etc/systemd/system/probe.service", "content": UNIT},
            {"path": "/opt/secret", "content": "s3cret", "permissions": "0600"},
        ],
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", "probe"], "echo once >> /var/once"],
    }
)


class Droplet:
    def __init__(self, lab: Lab, number: int) -> None:
        self.lab, self.id = lab, number
        self.place = f"droplet-{number}"

    def sh(self, script: str) -> str:
        result = self.lab.client.exec(self.place, ["sh", "-c", script])
        assert result.code == 0, result
        return result.stdout.strip()

    def view(self) -> dict[str, Any]:
        status, body = self.lab.api("GET", f"droplets/{self.id}")
        assert status == 200, body
        return dict(body["droplet"])

    def address(self, kind: str) -> str:
        return next(net["ip_address"] for net in self.view()["networks"]["v4"] if net["type"] == kind)

    def act(self, kind: str, **more: str) -> None:
        status, body = self.lab.api("POST", f"droplets/{self.id}/actions", {"type": kind, **more})
        assert status == 201, body
        path = f"actions/{body['action']['id']}"
        wait_for(f"{kind} is done", lambda: self.lab.api("GET", path)[1]["action"]["status"] == "completed")

    def wait_booted(self) -> None:
        wait_for("the boot is finished", lambda: "boot finished" in self.since_boot())

    def since_boot(self) -> list[str]:
        lines = self.lab.client.console(self.id)
        return lines[max(at for at, line in enumerate(lines) if line == "--- boot ---") :]


def create(lab: Lab, name: str, *, user_data: str = USER_DATA) -> Droplet:
    body = {"name": name, "region": "fra1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "user_data": user_data}
    status, answer = lab.api("POST", "droplets", body)
    assert status == 202, answer
    droplet = Droplet(lab, answer["droplet"]["id"])
    wait_for("the Droplet is active", lambda: droplet.view()["status"] == "active")
    return droplet


@pytest.fixture
def droplet(lab: Lab) -> Iterator[Droplet]:
    made = create(lab, "probe")
    made.wait_booted()
    yield made
    lab.api("DELETE", f"droplets/{made.id}")


def test_user_data_is_carried_out_by_cloud_init(droplet: Droplet) -> None:
    assert droplet.sh("cat /opt/secret; stat -c %a /opt/secret; hostname") == "s3cret600\nprobe"
    assert droplet.sh("systemctl is-active probe") == "active"
    assert droplet.sh("cat /var/starts") == "unit a b"
    assert "probe.service: the lab passes over ProtectHome" in droplet.since_boot()


def test_it_sees_nothing_of_the_host_but_its_software(droplet: Droplet) -> None:
    assert droplet.sh("ls -A /home /root /srv /mnt /run/netns 2>/dev/null | grep -v :; ls /var/lib") is not None
    assert droplet.sh("ls /etc/systemd/system | grep -v wants") == "probe.service"
    assert int(droplet.sh("ls -d /proc/[0-9]* | wc -l")) < 15
    assert droplet.sh("ls /sys/class/net | grep -v sit0 | tr '\\n' ' '").split() == ["eth0", "eth1", "lo"]
    with pytest.raises(AssertionError):
        droplet.sh(f"ls {droplet.lab.state}")


def test_its_packets_leave_from_its_public_address(lab: Lab, droplet: Droplet) -> None:
    script = "import urllib.request as u; print(u.urlopen('http://192.0.2.80/', timeout=5).read().decode())"
    result = lab.client.exec(droplet.place, ["python3", "-c", script])
    assert result.stdout.strip() == droplet.address("public")


def test_it_reaches_nodes_in_the_vpc_by_its_private_address(lab: Lab, droplet: Droplet) -> None:
    script = "import urllib.request as u; print(u.urlopen('http://10.110.0.21:10080/', timeout=5).read().decode())"
    result = lab.client.exec(droplet.place, ["python3", "-c", script])
    assert result.stdout.strip() == droplet.address("private")


def test_a_crashed_service_is_restarted(droplet: Droplet) -> None:
    before = droplet.sh("systemctl status probe")
    droplet.sh("kill -9 $(systemctl status probe | sed 's/.*pid \\([0-9]*\\).*/\\1/')")
    wait_for("two starts", lambda: droplet.sh("wc -l < /var/starts") == "2")
    wait_for("it is active", lambda: droplet.sh("systemctl is-active probe || true") == "active")
    assert droplet.sh("systemctl status probe") != before


def test_a_stopped_service_stays_stopped(droplet: Droplet) -> None:
    droplet.sh("systemctl stop probe")
    assert droplet.sh("systemctl is-active probe || echo $?") == "inactive\n3"
    droplet.sh("systemctl restart probe")
    assert droplet.sh("systemctl is-active probe") == "active"


def test_systemctl_refuses_what_it_does_not_know(droplet: Droplet) -> None:
    assert "knows daemon-reload" in droplet.sh("systemctl edit probe 2>&1 || true")
    assert droplet.sh("systemctl start absent 2>&1 || echo $?") == "Unit absent.service could not be found.\n4"


NOTIFYING = """[Service]
Type=notify
StateDirectory=told
UMask=0077
WatchdogSec=2
Restart=always
RestartSec=0
ExecStart=/usr/bin/env python3 /var/notifying.py
"""
SCRIPT = """import os, socket, time
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
tell = lambda what: manager.sendto(what, os.environ["NOTIFY_SOCKET"])
with open(os.environ["STATE_DIRECTORY"] + "/starts", "a") as file:
    file.write("start\\n")
time.sleep(0.5)
open("/var/ready", "w").close()
tell(b"READY=1")
while not os.path.exists("/var/hang"):
    time.sleep(0.2)
    tell(b"WATCHDOG=1")
time.sleep(1000)
"""


def test_a_notifying_service_is_waited_for_and_a_hung_one_is_replaced(droplet: Droplet) -> None:
    droplet.sh(f"cat > /etc/systemd/system/told.service <<'END'\n{NOTIFYING}END")
    droplet.sh(f"cat > /var/notifying.py <<'END'\n{SCRIPT}END")
    assert droplet.sh("systemctl start told && ls /var/ready && systemctl is-active told") == "/var/ready\nactive"
    assert droplet.sh("stat -c %a /var/lib/told/starts") == "600"
    droplet.sh("sleep 3; rm /var/ready; touch /var/hang")
    assert droplet.sh("wc -l < /var/lib/told/starts") == "1"
    wait_for("the watchdog bites", lambda: droplet.sh("wc -l < /var/lib/told/starts") != "1")
    assert "told.service was silent for too long while active: killed" in droplet.since_boot()


def test_a_service_that_ends_before_it_is_ready_fails_its_start(droplet: Droplet) -> None:
    unit = "[Service]\nType=notify\nExecStart=/bin/false\n"
    droplet.sh(f"cat > /etc/systemd/system/bad.service <<'END'\n{unit}END")
    assert droplet.sh("systemctl start bad 2>&1 || echo $?") == "Job for bad.service failed.\n1"
    assert droplet.sh("systemctl is-active bad || true") == "failed"


@pytest.mark.parametrize("kind", ["power_cycle", "reboot"])
def test_a_reboot_keeps_disk_and_addresses_and_starts_what_is_enabled(droplet: Droplet, kind: str) -> None:
    addresses = droplet.address("public"), droplet.address("private")
    boot_id = droplet.sh("cat /proc/sys/kernel/random/boot_id")
    droplet.sh("echo kept > /var/kept")
    droplet.act(kind)
    droplet.wait_booted()
    assert droplet.sh("cat /var/kept /var/once; wc -l < /var/starts") == "kept\nonce\n2"
    assert droplet.sh("systemctl is-active probe") == "active"
    assert droplet.sh("cat /proc/sys/kernel/random/boot_id") != boot_id
    assert (droplet.address("public"), droplet.address("private")) == addresses


def test_a_rebuild_is_a_first_boot_at_the_same_addresses(droplet: Droplet) -> None:
    addresses = droplet.address("public"), droplet.address("private")
    droplet.sh("echo lost > /var/lost")
    droplet.act("rebuild", image="ubuntu-24-04-x64")
    droplet.wait_booted()
    assert droplet.sh("ls /var/lost 2>/dev/null; cat /var/once; wc -l < /var/starts") == "once\n1"
    assert (droplet.address("public"), droplet.address("private")) == addresses


def test_power_off_and_on(lab: Lab, droplet: Droplet) -> None:
    droplet.act("power_off")
    assert droplet.view()["status"] == "off"
    with pytest.raises(LabError, match="is off"):
        droplet.sh("true")
    (shown,) = (one for one in lab.client.status()["droplets"] if one["id"] == droplet.id)
    assert shown["state"] == "off"
    droplet.act("power_on")
    droplet.wait_booted()
    assert droplet.sh("wc -l < /var/starts") == "2"


def test_shutdown_lets_services_end(droplet: Droplet) -> None:
    droplet.act("shutdown")
    assert droplet.view()["status"] == "off"


def test_a_destroyed_droplet_leaves_nothing(lab: Lab) -> None:
    made = create(lab, "short")
    assert lab.api("DELETE", f"droplets/{made.id}")[0] == 204
    wait_for("it is gone", lambda: all(one["id"] != made.id for one in lab.client.status()["droplets"]))
    links = lab.client.exec("internet", ["ip", "-br", "link"]).stdout + lab.client.exec("vpc", ["ip", "link"]).stdout
    assert str(made.id) not in links
    namespaces = lab.client.exec("internet", ["ip", "netns", "list"]).stdout
    assert f"droplet-{made.id}" not in namespaces


def test_two_boot_at_once(lab: Lab) -> None:
    made = [create(lab, f"twin-{number}") for number in (1, 2)]
    for one in made:
        one.wait_booted()
        assert one.sh("systemctl is-active probe") == "active"
    for one in made:
        lab.api("DELETE", f"droplets/{one.id}")
