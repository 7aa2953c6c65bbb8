"""The rules as text. What they do is shown with packets, in tests/netns/gateway."""

import subprocess
from dataclasses import replace

import pytest

from egress.gateway.ruleset import Forwarding, closed, open_for, replace_clients
from tests.machine import no_namespaces

WANTED = Forwarding(
    public_interface="eth0",
    private_interface="eth1",
    public_address="203.0.113.7",
    vpc="192.0.2.0/24",
    clients=frozenset({"10.110.0.21", "10.110.0.3"}),
)


def accepted_by_nft(rules: str) -> None:
    if reason := no_namespaces():
        pytest.skip(reason)
    checked = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"], input=rules, capture_output=True, text=True, check=False, timeout=30
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "rules",
    [
        closed(),
        open_for(WANTED),
        open_for(replace(WANTED, clients=frozenset())),
        open_for(WANTED) + replace_clients(["10.0.0.1"]),
        open_for(WANTED) + replace_clients([]),
        open_for(replace(WANTED, clients=frozenset(f"10.110.{n // 250}.{n % 250 + 1}" for n in range(5000)))),
    ],
    ids=["closed", "open", "no clients", "other clients", "clients gone", "5000 clients"],
)
def test_nft_accepts_it(rules: str) -> None:
    accepted_by_nft(rules)


def test_the_same_clients_give_the_same_text() -> None:
    assert open_for(WANTED) == open_for(replace(WANTED, clients=frozenset(sorted(WANTED.clients, reverse=True))))


def test_the_vpc_is_refused_also_when_it_is_no_private_range() -> None:
    assert "192.0.2.0/24" in open_for(WANTED)


def test_overlapping_ranges_are_joined() -> None:
    assert "10.110.0.0/20" not in open_for(replace(WANTED, vpc="10.110.0.0/20"))


@pytest.mark.parametrize("address", ["10.0.0.1; flush ruleset", "10.0.0.0/8", ""])
def test_only_addresses_are_written_as_clients(address: str) -> None:
    with pytest.raises(ValueError):
        replace_clients([address])


@pytest.mark.parametrize("name", ['eth0" accept', "", "a b", "sixteen-letters-"])
def test_only_interface_names_are_written_as_interfaces(name: str) -> None:
    with pytest.raises(ValueError, match="can't be written into a rule"):
        open_for(replace(WANTED, public_interface=name))
