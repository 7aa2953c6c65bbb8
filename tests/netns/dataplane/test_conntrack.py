"""Entries counted by mark; deleted by a filter, and by the walk that an older kernel needs: the same ones go."""

import errno
import os
import subprocess
from collections.abc import Iterator

import pytest

from egress.lab.netns import open_in
from egress.netkit.conntrack import Conntrack
from egress.netkit.netlink import NetlinkSocket

pytestmark = pytest.mark.netns
POD, NEIGHBOUR, OUTSIDE = "10.9.0.2", "10.9.0.3", "192.0.2.80"
_DELETE, _NAMED_BY_FILTER = (1 << 8) | 2, 0x8019


@pytest.fixture(params=["6.8 and later", "before 6.8"])
def conntrack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Conntrack]:
    """A namespace's table, where pod and neighbour have begun connections and are to answer some."""
    name = f"sgt-ct{os.getpid()}"
    run("ip", "netns", "add", name)
    try:
        if request.param == "before 6.8":
            monkeypatch.setattr(NetlinkSocket, "request", refuses_filters)
        for port, (source, to) in enumerate(
            [(POD, OUTSIDE), (POD, NEIGHBOUR), (NEIGHBOUR, OUTSIDE), (OUTSIDE, POD), (OUTSIDE, NEIGHBOUR)], 1000
        ):
            entry = f"-p udp -s {source} -d {to} --sport {port} --dport 80 -t 60"
            run("ip", "netns", "exec", name, "conntrack", "-I", *entry.split())
        table = open_in(name, Conntrack)
        yield table
        table.close()
    finally:
        run("ip", "netns", "del", name)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


_request = NetlinkSocket.request


def refuses_filters(self: NetlinkSocket, kind: int, body: bytes, *, flags: int = 0) -> None:
    """Answer as a kernel that takes the filter for the name of one entry."""
    if kind == _DELETE and _NAMED_BY_FILTER.to_bytes(2, "little") in body:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    _request(self, kind, body, flags=flags)


def left(table: Conntrack) -> set[tuple[str, str]]:
    return {(flow.source, flow.peer) for flow in table._flows(b"")}


def test_what_a_pod_began_goes_and_nothing_else(conntrack: Conntrack) -> None:
    conntrack.delete_from(POD)
    assert left(conntrack) == {(NEIGHBOUR, OUTSIDE), (OUTSIDE, POD), (OUTSIDE, NEIGHBOUR)}


def test_what_waits_for_a_pods_answer_goes_and_nothing_else(conntrack: Conntrack) -> None:
    conntrack.delete_to(POD)
    assert left(conntrack) == {(POD, OUTSIDE), (POD, NEIGHBOUR), (NEIGHBOUR, OUTSIDE), (OUTSIDE, NEIGHBOUR)}


def test_a_choice_among_a_pods_goes(conntrack: Conntrack) -> None:
    conntrack.delete_some_from(POD, lambda flow: flow.peer == OUTSIDE)
    assert left(conntrack) == {(POD, NEIGHBOUR), (NEIGHBOUR, OUTSIDE), (OUTSIDE, POD), (OUTSIDE, NEIGHBOUR)}


@pytest.mark.parametrize("conntrack", ["6.8 and later"], indirect=True)
def test_open_connections_are_counted_by_mark_and_ended_ones_leave_only_their_mark(conntrack: Conntrack) -> None:
    mask = 0x0FFF0000
    entries = [
        (0x00010000, "ESTABLISHED"),
        (0x10010000, "TIME_WAIT"),
        (0x00020000, "TIME_WAIT"),
        (0x00030000, "SYN_SENT"),
    ]
    for port, (mark, state) in enumerate(entries, 2000):
        entry = f"-p tcp -s {POD} -d {OUTSIDE} --sport {port} --dport 80 --state {state} -t 60 -m {mark}"
        run("ip", "netns", "exec", f"sgt-ct{os.getpid()}", "conntrack", "-I", *entry.split())
    marks = (0x00010000, 0x00020000, 0x00030000, 0x00040000)
    assert [conntrack.open_with(mark, mask) for mark in marks] == [1, 0, 1, None]
    assert conntrack.open_by_mark(mask, 0x00030000) == {0x00010000: 1, 0x00020000: 0, 0x00030000: 1}
    assert [[flow.ports[0] for flow in conntrack.going_on(mark, mask)] for mark in marks] == [[2000], [], [2003], []]
    unmarked = left(conntrack) - {(POD, OUTSIDE)}
    conntrack.delete_marked(0x00010000, mask)
    assert [conntrack.open_with(mark, mask) for mark in marks] == [None, 0, 1, None]
    conntrack.delete_marked(0x00020000, mask)
    conntrack.delete_marked(0x00030000, mask)
    # One that the fixture made has the same ends and no mark.
    assert left(conntrack) == {*unmarked, (POD, OUTSIDE)}
