import json
import stat
from pathlib import Path
from typing import Any

import pytest

from egress.lab.ca import certificates
from egress.lab.config import AgentConfig, CloudConfig, LabConfig, NodeConfig, load, save
from egress.lab.errors import LabError
from egress.lab.launch import lab_command

TOKEN = "0123456789abcdef"


def config(**changes: Any) -> LabConfig:
    settings: dict[str, Any] = {
        "state_dir": "/srv/lab",
        "control_socket": "/srv/lab.sock",
        "python": "/usr/bin/python3",
    }
    return LabConfig(**settings | changes)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    wanted = config(
        cloud=CloudConfig(fd=5, cert_file="/srv/c", key_file="/srv/k", tokens=(TOKEN,)),
        agent=AgentConfig(control_plane_url="https://198.51.100.80", ca_file="/srv/ca", join_token_file="/srv/t"),
        nodes=(NodeConfig(name="w", number=3, network="bridge"),),
    )
    save(wanted, tmp_path / "lab.json")
    assert load(tmp_path / "lab.json") == wanted
    assert stat.S_IMODE((tmp_path / "lab.json").stat().st_mode) == 0o600


def test_saving_again_replaces_a_broken_attempt(tmp_path: Path) -> None:
    (tmp_path / "lab.json.new").write_text("half")
    save(config(), tmp_path / "lab.json")
    assert load(tmp_path / "lab.json") == config()


def test_tokens_are_in_no_repr() -> None:
    assert TOKEN not in repr(CloudConfig(fd=5, cert_file="/c", key_file="/k", tokens=(TOKEN,)))


def test_a_nodes_number_makes_its_addresses() -> None:
    node = NodeConfig(name="w", number=2, network="ptp")
    assert (node.public_address, node.private_address, node.pod_network) == (
        "198.51.100.22",
        "10.110.0.22",
        "10.244.2.0/24",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_dir": "lab"}, "make it absolute"),
        ({"state_dir": "/run/lab"}, "a /run of its own"),
        ({"control_socket": "/var/run/lab.sock"}, "a /run of its own"),
        ({"control_socket": "/" + "x" * 200}, "outside 1..100"),
        ({"nodes": [{"name": "a", "number": 1, "network": "ptp"}] * 2}, "names a node twice"),
        ({"nodes": [{"name": "a", "number": 1, "network": "vxlan"}]}, "expected one of ptp, bridge"),
        ({"nodes": [{"name": "a", "number": 10, "network": "ptp"}]}, "outside 1..9"),
        ({"nodes": []}, "outside 1..9"),
        ({"cloud": {"fd": 1, "cert_file": "/c", "key_file": "/k", "tokens": [TOKEN]}}, "outside 3"),
        ({"cloud": {"fd": 5, "cert_file": "/run/c", "key_file": "/k", "tokens": [TOKEN]}}, "a /run of its own"),
        ({"python": 3}, "expected str"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"state_dir": "/srv", "control_socket": "/srv/s", "python": "/p"} | change))
    with pytest.raises(LabError, match=message):
        load(path)


def test_no_file_and_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        load(tmp_path / "absent.json")
    (tmp_path / "lab.json").write_text("{")
    with pytest.raises(LabError, match="not JSON"):
        load(tmp_path / "lab.json")


def test_the_command_carries_the_file_and_nothing_secret(tmp_path: Path) -> None:
    command = lab_command(tmp_path / "lab.json")
    assert command[0] == "unshare"
    assert command[-2:] == ["--config", str(tmp_path / "lab.json")]


def test_certificates_are_made_once_and_keys_are_the_owners_only(tmp_path: Path) -> None:
    first = certificates(tmp_path)
    content = first.ca.read_bytes()
    assert certificates(tmp_path) == first
    assert first.ca.read_bytes() == content
    assert stat.S_IMODE(first.ca.parent.stat().st_mode) == 0o700
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["tls"]
