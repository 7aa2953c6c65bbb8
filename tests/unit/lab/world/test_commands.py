from typing import Any

import pytest

from egress.lab.cni import CniError, _error, _result
from egress.lab.commands import _take
from egress.lab.config import NodeConfig
from egress.lab.errors import BadRequest
from egress.lab.netns import mac_of
from egress.lab.observer import _parse
from egress.lab.world import kube_ruleset
from portal.demo.management.commands.lab import status_lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name is missing"),
        ({"name": 1}, "name must be a str"),
        ({"name": "x", "limit": "1"}, "limit must be a float"),
        ({"name": "x", "limit": True}, "limit must be a float"),
        ({"name": "x", "more": 1}, "unknown argument more; known: name, limit"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        _take(arguments, name=str, limit=1.5)


def test_arguments_have_defaults_and_an_int_is_a_float() -> None:
    assert _take({"name": "x"}, name=str, limit=1.5) == ("x", 1.5)
    assert _take({"name": "x", "limit": 2}, name=str, limit=1.5) == ("x", 2.0)


def test_a_plugins_own_words_are_passed_on() -> None:
    error = _error("ADD", "sluicegate", 1, b'{"code": 11, "msg": "try again later", "details": "no agent"}', b"")
    assert (error.cni_code, str(error)) == (
        11,
        "the CNI plugin sluicegate refused ADD: try again later no agent (code 11)",
    )


@pytest.mark.parametrize("stdout", [b"", b"garbage", b"[]", b"null", b'{"code": 3}'])
def test_a_plugin_that_breaks_the_rules_is_named(stdout: bytes) -> None:
    error = _error("DEL", "ptp", 2, stdout, b"panic: oh")
    assert "ptp failed at DEL with exit code 2: panic: oh" in str(error)


@pytest.mark.parametrize("stdout", [b"", b"garbage", b"[]", b"null"])
def test_an_add_without_a_result_is_an_error(stdout: bytes) -> None:
    with pytest.raises(CniError, match="isn't a result"):
        _result("ADD", "ptp", stdout)
    assert _result("DEL", "ptp", stdout) is None


def test_addresses_make_macs() -> None:
    assert mac_of("203.0.113.10") == "02:00:cb:00:71:0a"


def test_every_node_sends_the_service_to_the_first() -> None:
    first, second = (NodeConfig(name=f"n{number}", number=number, network="ptp") for number in (1, 2))
    ruleset = kube_ruleset(second, first)
    assert "ip daddr 10.96.0.10 tcp dport 80 dnat to 10.110.0.21:10080" in ruleset
    assert "ip saddr 10.244.2.0/24" in ruleset


def test_the_sniffers_listing_is_understood() -> None:
    def element(*parts: Any, packets: int) -> dict[str, Any]:
        return {"elem": {"val": {"concat": list(parts)}, "counter": {"packets": packets, "bytes": 0}}}

    listing = {
        "nftables": [
            {"metainfo": {}},
            {"set": {"name": "out_ports", "elem": [element("1.2.3.4", "5.6.7.8", "tcp", 80, packets=3)]}},
            {"set": {"name": "in_others", "elem": [element("1.2.3.4", "5.6.7.8", "icmp", packets=1)]}},
            {"set": {"name": "in_ports"}},
            {"counter": {"name": "missed", "packets": 2}},
        ]
    }
    counts, missed = _parse(listing)
    assert counts == {("out", "1.2.3.4", "5.6.7.8", "tcp", 80): 3, ("in", "1.2.3.4", "5.6.7.8", "icmp", 0): 1}
    assert missed == 2


def test_an_empty_lab_reads_well() -> None:
    lines = status_lines(
        {"lab": {"boots_with": "cloud-init", "observer": "192.0.2.80"}, "nodes": [], "containers": [], "droplets": []}
    )
    assert lines.count("  none") == 2
