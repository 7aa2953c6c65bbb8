"""The wire format: strict about known fields, tolerant of unknown ones, and never surprised."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.wire import messages
from egress.wire.codec import WireError, decode, encode

GATEWAY = {"id": "g-1", "slot": 0, "private_address": "10.110.0.100", "public_address": "203.0.113.10"}
ROUTE = {"namespace": "shop-api", "pair": 7, "state": "active", "gateways": [GATEWAY]}
SETTINGS = {"vpc": "10.110.0.0/20", "local_networks": ["10.244.0.0/16"]}
SYNC: dict[str, Any] = {
    "epoch": "e", "revision": 3, "full": True, "routes": [ROUTE], "removed": [], "settings": SETTINGS, "ordinal": 0,
}  # fmt: skip


def node_sync(**changes: Any) -> messages.NodeSync:
    return decode(messages.NodeSync, json.dumps({**SYNC, **changes}).encode())


def test_a_message_comes_back_as_it_went() -> None:
    message = node_sync()
    assert decode(messages.NodeSync, encode(message)) == message


def test_unknown_fields_are_ignored_at_every_depth() -> None:
    assert node_sync(later="x", routes=[{**ROUTE, "colour": 1}]) == node_sync()


def test_missing_optional_fields_take_their_defaults() -> None:
    (route,) = node_sync().routes
    assert (route.spread, route.on_outage, route.gateways[0].state) == (0, "reject", "active")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"revision": -1}, "NodeSync.revision"),
        ({"revision": True}, "NodeSync.revision"),
        ({"revision": "3"}, "NodeSync.revision"),
        ({"epoch": ""}, "NodeSync.epoch"),
        ({"full": 1}, "NodeSync.full"),
        ({"routes": {}}, "NodeSync.routes"),
        ({"routes": [{**ROUTE, "namespace": "Shop;drop"}]}, "NodeSync.routes[0].namespace"),
        ({"routes": [{**ROUTE, "gateways": []}]}, "NodeSync.routes[0].gateways"),
        ({"routes": [{**ROUTE, "gateways": [GATEWAY] * 3}]}, "NodeSync.routes[0].gateways"),
        ({"routes": [{**ROUTE, "state": "paused"}]}, "NodeSync.routes[0].state"),
        ({"routes": [{**ROUTE, "gateways": [{**GATEWAY, "private_address": "::1"}]}]}, "gateways[0].private_address"),
        ({"settings": {**SETTINGS, "vpc": "10.110.0.1/20"}}, "NodeSync.settings.vpc"),
        ({"settings": {**SETTINGS, "snat_ports": [1024]}}, "NodeSync.settings.snat_ports"),
        ({"removed": ["a" * 64]}, "NodeSync.removed[0]"),
        ({"ordinal": None}, "NodeSync.ordinal"),
    ],
)
def test_a_wrong_known_field_is_refused_by_its_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(WireError) as caught:
        node_sync(**changes)
    assert place in str(caught.value)


def test_a_missing_field_is_refused_by_its_name() -> None:
    with pytest.raises(WireError, match=r"NodeSyncRequest\.wait_seconds: missing"):
        decode(messages.NodeSyncRequest, b'{"epoch": "", "applied_revision": 0}')


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(WireError):
        decode(messages.NodeSync, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(SYNC)), JSON)
def test_any_json_in_any_field_is_read_or_refused(field: str, value: Any) -> None:
    try:
        message = node_sync(**{field: value})
    except WireError:
        return
    assert decode(messages.NodeSync, encode(message)) == message


def test_nesting_beyond_reason_is_refused() -> None:
    with pytest.raises(WireError):
        decode(messages.NodeSync, b"[" * 100_000)
