import json
from pathlib import Path
from typing import Any

import pytest

from egress.node.config import ConfigError, read_config

GOOD: dict[str, Any] = {
    "name": "node-1",
    "control_plane_url": "https://control:8443",
    "join_token_file": "/etc/sluicegate/join-token",
    "private_interface": "eth1",
    "private_address": "10.110.0.21",
}


def read(folder: Path, content: object) -> Any:
    path = folder / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_config(path)


def test_the_folders_have_defaults(folder: Path) -> None:
    config = read(folder, GOOD)
    assert config.ca_file is None
    assert str(config.socket) == "/run/sluicegate/cni.sock"
    assert str(config.namespaces_file) == "/var/lib/sluicegate/namespaces"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected dict"),
        ({**GOOD, "name": ""}, "name"),
        ({**GOOD, "private_address": "10.110.0.300"}, "private_address"),
        ({**GOOD, "state_dir": 7}, "state_dir: expected str"),
        ({**GOOD, "control_plane_url": "http://control"}, "must be https://"),
        ({**GOOD, "privat_address": "10.0.0.1"}, "unknown setting privat_address; known are ca_file"),
        ({key: value for key, value in GOOD.items() if key != "name"}, "name: missing"),
    ],
)
def test_a_mistake_is_named(folder: Path, content: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read(folder, content)
    assert str(folder / "config.json") in str(caught.value)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(folder / "absent.json")
