"""What the agent keeps on disk."""

import stat
from pathlib import Path

import pytest

from egress.gateway.config import ConfigError, load_config
from egress.gateway.state import Store
from egress.wire.messages import GatewaySync
from egress.wire.tokens import Tokens

ENROLLED = Tokens(token="a-token-long-enough")
CLIENTS = GatewaySync(
    revision=7, public_address="203.0.113.7", vpc="10.110.0.0/20", clients=("10.110.0.21",), probe_key="00ff"
)


def test_what_was_saved_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "state")
    assert store.credential() is None
    assert store.clients() is None
    store.save_credential(ENROLLED)
    store.save_clients(CLIENTS)
    again = Store(tmp_path / "deep" / "state")
    assert again.credential() == ENROLLED
    assert again.clients() == CLIENTS


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    store.save_credential(ENROLLED)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "state").iterdir()] == [0o600]


def test_the_rest_of_a_write_that_was_cut_short_does_no_harm(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_clients(CLIENTS)
    (tmp_path / "clients.new").write_text('{"revis')
    assert store.clients() == CLIENTS
    store.save_clients(CLIENTS)
    assert store.clients() == CLIENTS


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"revision": "x"}'])
def test_damaged_files_count_as_none(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    for name in ("credential.json", "clients.json"):
        (tmp_path / name).write_bytes(content)
    assert store.credential() is None
    assert store.clients() is None


@pytest.mark.parametrize("content", [None, "", "{}", '{"gateway_id": "g", "enrolment_secret": "short"}'])
def test_a_configuration_that_cant_be_used_is_named_without_its_secret(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "gateway.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"gateway\.json can't be used"):
        load_config(path)
