from pathlib import Path

import pytest

from portal.demo import needs
from portal.demo.errors import StackError
from portal.demo.needs import check_socket_path, missing, obstacle, packages


def test_what_is_missing_is_named_with_its_package() -> None:
    there = {"ip": "/usr/sbin/ip"}
    assert missing({"ip": "iproute2", "nft": "nftables"}, there.get) == {"nft": "nftables"}


def test_a_package_is_named_once() -> None:
    assert packages({"unshare": "util-linux", "nft": "nftables", "nsenter": "util-linux"}) == ["nftables", "util-linux"]


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is installed."""
    monkeypatch.setattr(needs, "PLUGIN_FOLDERS", (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("bare_machine")
def test_everything_missing_is_one_line_that_says_what_to_install() -> None:
    assert obstacle() == (
        "Not found on this machine: ip, nsenter, setpriv, unshare, nft, conntrack, CNI plugins. "
        "As root: apt-get install conntrack containernetworking-plugins iproute2 nftables util-linux"
    )


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_its_length() -> None:
    check_socket_path(Path("/" + "x" * 99))
    with pytest.raises(StackError, match=r"too long for a unix socket \(101 bytes of at most 100\): name a shorter"):
        check_socket_path(Path("/" + "x" * 100))
    with pytest.raises(StackError, match="103 bytes"):
        check_socket_path(Path("/" + "ü" * 51))
