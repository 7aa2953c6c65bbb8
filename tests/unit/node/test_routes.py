from dataclasses import replace

import pytest

from egress.node.routes import listed, merge
from egress.wire.codec import WireError

from .rig import route, table


def test_a_delta_changes_adds_and_removes() -> None:
    old = table(route("a", 1), route("b", 2), route("c", 3))
    delta = replace(
        table(route("b", 2, state="draining"), route("d", 4), revision=7), full=False, removed=("c", "unknown")
    )
    merged = merge(old, delta)
    assert {item.namespace: item.state for item in merged.routes} == {"a": "active", "b": "draining", "d": "active"}
    assert (merged.revision, merged.full, merged.removed) == (7, True, ())


def test_a_delta_twice_is_a_delta_once() -> None:
    old = table(route("a", 1))
    delta = replace(table(route("b", 2), revision=2), full=False, removed=("a",))
    assert merge(merge(old, delta), delta) == merge(old, delta)


def test_a_full_table_replaces_whatever_was_there() -> None:
    new = table(route("z"), epoch="epoch-2", revision=1)
    assert merge(table(route("a"), revision=90), new) == new


@pytest.mark.parametrize("old", [None, table(epoch="epoch-0")])
def test_a_delta_of_another_history_is_refused(old: object) -> None:
    with pytest.raises(WireError, match="epoch-1"):
        merge(old, replace(table(), full=False))  # type: ignore[arg-type]


def test_a_key_that_is_not_hex_is_refused() -> None:
    with pytest.raises(WireError, match="probe_key"):
        merge(None, replace(table(), probe_key="xyz"))


def test_only_active_routes_hold_containers_back() -> None:
    assert listed(table(route("a"), route("b", 2, state="draining"))) == {"a"}
