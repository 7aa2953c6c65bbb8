import re
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


@pytest.mark.parametrize(("user", "way_out"), [(0, "CAP_SYS_ADMIN"), (1000, "Run it as root, or .* user.max_user_nam")])
def test_where_namespaces_are_forbidden_one_line_says_why_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, way_out: str
) -> None:
    for name in (*needs.TOOLS, *needs.PLUGINS):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(needs, "PLUGIN_FOLDERS", (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(needs.launch, "obstacle", lambda: "unshare: Operation not permitted")
    monkeypatch.setattr(needs.os, "geteuid", lambda: user)
    line = r"No namespaces can be made on this machine \(unshare: Operation not permitted\)\. .*"
    assert re.fullmatch(f"{line}{way_out}.*", obstacle())


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_its_length() -> None:
    check_socket_path(Path("/" + "x" * 99))
    with pytest.raises(StackError, match=r"too long for a unix socket \(101 bytes of at most 100\): name a shorter"):
        check_socket_path(Path("/" + "x" * 100))
    with pytest.raises(StackError, match="103 bytes"):
        check_socket_path(Path("/" + "ü" * 51))
