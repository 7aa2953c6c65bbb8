"""A gateway laid by its real user data, whose machine is rebooted, or whose agent is only started again.

node-1 10.110.0.21 ── VPC ── eth1 Droplet
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import egress
from egress.gateway.userdata import APT_PATH, UserData, gateway_user_data
from egress.wire import probe
from egress.wire.codec import encode
from egress.wire.messages import GatewaySync

from .conftest import Lab, wait_for
from .test_droplets import Droplet, create

pytestmark = [pytest.mark.netns, pytest.mark.cni]

KEY = "5e" * 32
UNIT = "sluicegate-gateway"
STATE = "/var/lib/sluicegate/gateway"
#: Asks until told otherwise by a file, and prints which flags it heard, in order.
LISTEN = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from egress.wire import probe
key, heard = bytes.fromhex(sys.argv[2]), []
node = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
node.settimeout(0.1)
while not os.path.exists(sys.argv[4]):
    try:
        node.sendto(probe.request(key, os.urandom(8)), (sys.argv[3], probe.PORT))
        answer = probe.read_answer(key, node.recv(100))
    except OSError:
        continue
    if answer and answer.flags not in heard[-1:]:
        heard.append(answer.flags)
        print(answer.flags, flush=True)
"""


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Droplet]:
    """A gateway that knows its client as if a control plane, which there is none of here, had told it."""
    wanted = UserData(
        gateway_id="gw-1",
        enrolment_secret="the-secret-of-one-gateway",
        control_plane_url="https://198.51.100.80:9",
        ca_pem="",
        vpc="10.110.0.0/20",
    )
    droplet = create(lab, "gateway", user_data=gateway_user_data(wanted))
    droplet.wait_booted()
    known = GatewaySync(
        revision=1,
        public_address=droplet.address("public"),
        vpc="10.110.0.0/20",
        clients=("10.110.0.21",),
        targets=("1.1.1.1", "8.8.8.8", "9.9.9.9"),
        probe_key=KEY,
    )
    droplet.sh(f"cat > {STATE}/clients.json <<'END'\n{encode(known).decode()}\nEND")
    droplet.sh(f"systemctl restart {UNIT}")
    yield droplet
    lab.api("DELETE", f"droplets/{droplet.id}")


def heard_while(lab: Lab, gateway: Droplet, act: Callable[[], None], folder: Path) -> list[int]:
    """Return the flags that node-1 heard while `act` ran, from the first answer on."""
    end = folder / "end"
    script = [LISTEN, str(Path(egress.__file__).parents[1]), KEY, gateway.address("private"), str(end)]
    said: list[str] = []

    def listen() -> None:
        argv = ["python3", "-c", *script]
        lab.client.exec("node-1", argv, timeout_seconds=120, on_output=lambda _, text: said.append(text))

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        wait_for("an answer", lambda: "".join(said))
        act()
    finally:
        end.touch()
        listening.join(120)
    return [int(word) for word in "".join(said).split()]


def test_a_reboot_is_told_to_the_nodes_and_a_restart_of_the_agent_isnt(
    lab: Lab, gateway: Droplet, tmp_path: Path
) -> None:
    def restart() -> None:
        gateway.sh(f"systemctl restart {UNIT}")
        # The lab's internet answers for the targets that clusters have by default, or it would be called lost by now.
        time.sleep(4)
        wait_for("it serves again", lambda: gateway.sh(f"systemctl is-active {UNIT}") == "active")

    (tmp_path / "restart").mkdir()
    heard = heard_while(lab, gateway, restart, tmp_path / "restart")
    assert set(heard) == {probe.FORWARDING}
    heard = heard_while(lab, gateway, lambda: gateway.act("reboot"), tmp_path)
    assert probe.FORWARDING | probe.LEAVING in heard
    gateway.wait_booted()
    assert gateway.sh(f"systemctl is-active {UNIT}") == "active"


def test_its_updates_are_switched_off(gateway: Droplet) -> None:
    said = json.loads(
        gateway.sh(
            "apt-config dump --format '%f %v%n' | python3 -c \"import json,sys;"
            " print(json.dumps(dict(l.rstrip().split(' ', 1) for l in sys.stdin if ' ' in l.rstrip())))\""
        )
    )
    assert said["APT::Periodic::Enable"] == "0"
    assert said["Unattended-Upgrade::Automatic-Reboot"] == "false"
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"):
        assert gateway.sh(f"readlink /etc/systemd/system/{unit}") == "/dev/null"
    assert gateway.sh(f"stat -c %a {APT_PATH}") == "644"
