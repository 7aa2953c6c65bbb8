"""The agent as a process, against a control plane over TLS; only the kernel is written down instead of touched."""

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import egress

from .rig import (
    PATIENCE_SECONDS,
    Node,
    StandIn,
    net_config,
    ptp_result,
    route,
    table,
    wait_acknowledged,
    wait_for,
)


def write_cache(node: Node, name: str, content: object) -> Path:
    path = node.cache_dir / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def cached(address: str, netns: str, *, container: str = "c1", namespace: str = "shop") -> dict[str, object]:
    return {
        "kind": "cniCacheV1",
        "containerId": container,
        "config": "e30=",
        "ifName": "eth0",
        "networkName": "pods",
        "netns": netns,
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", "p"]],
        "result": ptp_result(address, netns=netns),
    }


def test_a_node_joins_applies_and_then_acknowledges(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    assert [(call["call"], call["routes"]) for call in node.record][:2] == [
        ("start", {"shop": "active"}),
        ("reconcile", {"shop": "active"}),
    ]
    assert [(join.name, join.agent_version) for join in control_plane.joins] == [("node-1", egress.__version__)]
    assert control_plane.requests[0].epoch == ""
    assert stat.S_IMODE((node.state_dir / "credential.json").stat().st_mode) == 0o600
    control_plane.publish(route("shop"), route("other", 2))
    wait_acknowledged(control_plane, 2)
    assert node.wish["routes"] == {"shop": "active", "other": "active"}
    assert node.stop() == 0
    assert node.record[-1] == {"call": "close"}
    for secret in (control_plane.join_token, control_plane.token, control_plane.table.probe_key):
        assert secret not in node.log


def test_what_the_kernel_refuses_is_not_acknowledged_but_told_and_tried_again(
    node: Node, control_plane: StandIn
) -> None:
    failing = node.record_file.with_suffix(".fail")
    failing.touch()
    node.start()
    wait_for(lambda: any(report.dataplane == "failed" for report in control_plane.reports), "the failure is reported")
    assert control_plane.reports[-1].detail == "RuntimeError: the kernel said no"
    assert {request.applied_revision for request in control_plane.requests} == {0}
    failing.unlink()
    wait_acknowledged(control_plane, 1)
    wait_for(lambda: control_plane.reports[-1].dataplane == "ok", "the recovery is reported")


def test_a_disk_that_takes_no_routes_is_told_to_operators_until_it_does(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    routes = node.state_dir / "routes.json"
    routes.unlink()
    routes.mkdir()
    control_plane.publish(route("shop"), route("other", 2))
    told = "newer ones aren't followed: [Errno 21] Is a directory"
    wait_for(lambda: any(told in report.detail for report in control_plane.reports), "the reason is reported")
    assert control_plane.reports[-1].dataplane == "ok"
    routes.rmdir()
    wait_acknowledged(control_plane, 2)
    wait_for(lambda: control_plane.reports[-1].detail == "", "the recovery is reported")


def test_the_data_path_starts_from_disk_without_the_control_plane(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    node.stop(signal.SIGKILL)
    control_plane.stop()
    node.record_file.unlink()
    node.start()
    assert node.wish["routes"] == {"shop": "active"}
    added = node.call("ADD", net_config(ptp_result()))
    assert (added.code, added.json) == (0, ptp_result())
    assert node.wish["call"] == "pod_added"
    control_plane.start()
    wait_acknowledged(control_plane, 1)
    assert len(control_plane.joins) == 1


def test_a_rejected_credential_makes_the_node_join_again(node: Node, control_plane: StandIn) -> None:
    node.start()
    wait_acknowledged(control_plane, 1)
    node.stop()
    control_plane.token = "another-credential-now"
    node.start()
    wait_for(lambda: len(control_plane.joins) > 1, "the node joins again")
    control_plane.publish(route("shop"))
    wait_acknowledged(control_plane, 2)


def test_an_offered_credential_is_kept_and_used_and_the_one_before_counts_again_where_it_is_unknown(
    node: Node, control_plane: StandIn
) -> None:
    node.start()
    wait_acknowledged(control_plane, 1)
    old, new = control_plane.token, "credential-offered-to-it"
    control_plane.table = replace(control_plane.table, credential=new)
    control_plane.publish(route("shop"))
    credential = node.state_dir / "credential.json"
    wait_for(lambda: new in credential.read_text(), "it is kept")
    control_plane.table = replace(control_plane.table, credential="")
    # So far the new one is refused, as by a database that was restored; then the old one is.
    wait_acknowledged(control_plane, 2)
    control_plane.token = new
    control_plane.publish(route("shop"), route("other", 2))
    wait_acknowledged(control_plane, 3)
    assert len(control_plane.joins) == 1
    assert not any(token in (node.state_dir / "routes.json").read_text() for token in (old, new))
    assert not any(token in node.log for token in (old, new))


def test_a_wrong_join_token_is_named_with_its_file(node: Node, control_plane: StandIn) -> None:
    control_plane.join_token = "a-rotated-join-token"
    node.start()
    wait_for(lambda: f"{node.directory}/join-token isn't the cluster's" in node.log, "the log names the file")
    (node.directory / "join-token").write_text("a-rotated-join-token")
    wait_acknowledged(control_plane, 1)


def test_a_new_history_replaces_the_old_one(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table(route("old"), revision=50)
    node.start()
    wait_acknowledged(control_plane, 50)
    node.stop()
    control_plane.table = table(route("new"), revision=3, epoch="epoch-2")
    node.start()
    wait_acknowledged(control_plane, 3)
    assert node.wish["routes"] == {"new": "active"}


def test_garbage_on_disk_holds_only_the_listed_back_until_the_first_sync(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    node.stop()
    control_plane.stop()
    (node.state_dir / "routes.json").write_bytes(b'{"epoch": ')
    (node.state_dir / "credential.json").write_bytes(b"\0" * 50)
    node.start()
    refused = node.call("ADD", net_config(ptp_result()))
    assert (refused.code, refused.json["code"]) == (1, 11)
    assert node.call("ADD", net_config(ptp_result("10.244.1.6")), namespace="docs", container="c2").code == 0
    control_plane.start()
    wait_acknowledged(control_plane, 1)
    assert node.call("ADD", net_config(ptp_result())).code == 0


def test_containers_are_found_again_after_a_kill(node: Node, control_plane: StandIn, own_netns: str) -> None:
    """ADD is told to this agent only: the runtime hasn't written its cache yet."""
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    # This process's namespace holds 127.0.0.1, so that is an address that counts.
    assert node.call("ADD", net_config(ptp_result("127.0.0.1")), netns=own_netns).code == 0
    node.stop(signal.SIGKILL)
    node.record_file.unlink()
    node.start()
    assert node.record[0]["pods"]["127.0.0.1"]["namespace"] == "shop"
    node.call("DEL", net_config(), netns="")
    assert node.wish["call"] == "pod_removed"
    node.stop(signal.SIGKILL)
    node.start()
    assert node.wish["pods"] == {}


def test_the_runtimes_cache_tells_of_containers_and_garbage_in_it_does_not_matter(
    node: Node, control_plane: StandIn, own_netns: str
) -> None:
    control_plane.table = table(route("shop"))
    write_cache(node, "pods-c1-eth0", cached("127.0.0.1", own_netns))
    write_cache(node, "pods-c2-eth0", cached("127.0.0.2", "/run/netns/gone", container="c2"))
    write_cache(node, "pods-c3-eth0", cached("192.0.2.77", own_netns, container="c3"))
    write_cache(node, "torn", json.dumps(cached("127.0.0.4", own_netns))[:-20].encode())
    write_cache(node, "binary", os.urandom(200))
    write_cache(node, "deep", b"[" * 200_000)
    write_cache(node, "large", b" " * (2 << 20))
    write_cache(node, "foreign", {"kind": "podmanCache"})
    write_cache(node, "escape", cached("127.0.0.5", own_netns, container="../../etc/passwd"))
    (node.cache_dir / "folder").mkdir()
    node.start()
    wait_acknowledged(control_plane, 1)
    assert node.record[0]["pods"].keys() == {"127.0.0.1"}
    for name in ("torn", "binary", "deep", "large", "foreign", "escape"):
        assert node.log.count(f"{node.cache_dir}/{name}: passed over") == 1
    wait_for(
        lambda: any(report.containers == {"shop": 1} for report in control_plane.reports), "the container is reported"
    )


def test_a_container_that_came_and_one_that_went_unseen_are_noticed(
    node: Node, control_plane: StandIn, own_netns: str
) -> None:
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    assert node.call("ADD", net_config(ptp_result("10.244.9.9", veth="no-such-link")), netns="/nowhere").code == 0
    write_cache(node, "late", cached("127.0.0.1", own_netns, container="late"))
    wait_for(lambda: node.wish["pods"].keys() == {"127.0.0.1"}, "the looks at namespaces and cache")


def test_flows_that_end_while_a_route_drains_are_reported_soon(node: Node, control_plane: StandIn) -> None:
    flows = node.record_file.with_suffix(".flows")
    flows.write_text('{"gateway-1-0": 2}')
    control_plane.table = table(route("shop", state="draining"))
    node.start()
    wait_for(lambda: control_plane.reports and control_plane.reports[-1].flows == {"gateway-1-0": 2}, "flows reported")
    reports = len(control_plane.reports)
    flows.write_text("{}")
    wait_for(lambda: control_plane.reports[-1].flows == {}, "their end reported")
    # It was the change that was told, not the next report that happened to come.
    assert len(control_plane.reports) <= reports + 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
        ({"nmae": "x"}, "unknown setting nmae"),
        ({"control_plane_url": "http://x"}, "must be https"),
    ],
)
def test_a_wrong_configuration_ends_it_with_one_clear_line(folder: Path, change: dict[str, str], words: str) -> None:
    pytest.importorskip("egress.node.dataplane")
    node = Node(folder / "node")
    path = node.directory / "config.json"
    path.write_text(json.dumps({**node.config, **change}))
    done = subprocess.run(
        [sys.executable, "-m", "egress.node", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
