"""A node's page: from what it reports and counts, and over HTTP from the agent as a process."""

import contextlib
import http.client
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from egress.node.config import Config, ConfigError, read_config
from egress.node.counts import Counts
from egress.node.metrics import METRICS, Exporter, View, page_of
from egress.wire.exposition import render
from egress.wire.messages import NodeReport
from tests.exposed import Exposed, needs_promtool, promtool

from . import rig
from .rig import Node, StandIn, route, wait_for

A, B = "gateway-1-0", "gateway-1-1"


def view(**report: Any) -> View:
    counts = Counts()
    for answered in (True, True, False):
        counts.probed(A, answered=answered)
    counts.round_trip.observe(0.0004)
    counts.pivots, counts.late_rounds = 2, 1
    values: dict[str, Any] = {"containers": {"shop": 2, "other": 1}, "flows": {A: 5}, **report}
    return View(
        node="node-1",
        report=NodeReport(boot_id="boot", agent_version="1", dataplane="ok", **values),
        table=rig.table(route("shop", 1), route("elsewhere", 2), revision=9),
        applied_revision=8,
        in_sync=True,
        outages=1,
        counts=counts,
    )


def shown(**report: Any) -> Exposed:
    return Exposed(render(page_of(view(**report))))


def test_it_shows_its_own_metrics_and_no_others() -> None:
    shown().is_exactly(METRICS)


def test_it_shows_what_it_reports_and_counts() -> None:
    page = shown(gateways={A: "unhealthy", B: "healthy"}, reasons={A: "no_link"}, in_doubt={"shop": 1})
    assert page.value("sluicegate_node_dataplane", state="ok") == 1
    assert page.value("sluicegate_node_dataplane", state="unsupported") == 0
    assert page.value("sluicegate_node_applied_revision") == 8
    assert page.value("sluicegate_node_in_sync") == 1
    assert page.value("sluicegate_node_routes") == 2
    assert page.value("sluicegate_node_containers") == 3
    assert page.value("sluicegate_node_containers_in_doubt") == 1
    assert page.value("sluicegate_node_gateways", health="unhealthy") == 1
    assert page.value("sluicegate_node_gateways_unusable", reason="no_link") == 1
    assert page.value("sluicegate_node_gateways_unusable", reason="dead") == 0
    assert page.value("sluicegate_node_gateway_connections", gateway=A) == 5
    assert page.value("sluicegate_node_probes_total", gateway=A) == 3
    assert page.value("sluicegate_node_probes_lost_total", gateway=A) == 1
    assert page.value("sluicegate_node_probe_round_trip_seconds_count") == 1
    assert page.value("sluicegate_node_probe_rounds_late_total") == 1
    assert page.value("sluicegate_node_pivots_total") == 2
    assert page.value("sluicegate_node_pairs_without_gateway") == 1


def test_gateways_that_are_out_of_use_take_their_series_with_them() -> None:
    counts = Counts()
    for gateway in (A, B):
        counts.probed(gateway, answered=False)
    counts.keep([B])
    page = Exposed(render(page_of(replace(view(), counts=counts))))
    assert page.labels("sluicegate_node_probes_total", "gateway") == {B}
    assert page.labels("sluicegate_node_probes_lost_total", "gateway") == {B}


def test_it_shows_no_customers_name_and_no_address() -> None:
    text = shown().text
    assert not any(name in text for name in ("shop", "elsewhere", "10.110", "203.0.113", "00" * 32))


@needs_promtool
def test_promtool_takes_it() -> None:
    promtool("check", "metrics", text=shown().text)


# --- over HTTP -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port: int = finder.getsockname()[1]
        return port


def scraped(port: int, token: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture
def port(node: Node, control_plane: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Start the agent with metrics; returns their port."""
    (folder / "metrics-token").write_text("a-token-of-enough-characters\n")
    port = free_port()
    config = {**node.config, "metrics_port": port, "metrics_token_file": str(folder / "metrics-token")}
    monkeypatch.setattr(Node, "config", config)
    control_plane.table = rig.table(route("shop"), revision=3)
    node.start()
    return port


def test_the_agent_shows_what_is_in_force_to_who_has_the_token(port: int) -> None:
    def up_to_date() -> Exposed | None:
        with contextlib.suppress(OSError):
            page = Exposed(scraped(port, "a-token-of-enough-characters")[1])
            return page if page.value("sluicegate_node_applied_revision") == 3 else None
        return None

    page = wait_for(up_to_date, "the revision in the metrics")
    page.is_exactly(METRICS)
    assert page.value("sluicegate_node_in_sync") == 1
    assert page.labels("sluicegate_node_info", "node") == {"node-1"}
    assert scraped(port)[0] == 401


def test_a_port_that_is_taken_costs_the_metrics_only(
    node: Node, control_plane: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(Node, "config", {**node.config, "metrics_port": taken.getsockname()[1]})
        node.start()
        wait_for(lambda: control_plane.reports, "a report all the same")


# --- its configuration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"metrics_address": "0.0.0.0"}, "must be a loopback address or private_address"),
        ({"metrics_address": "10.110.0.22"}, "must be a loopback address or private_address"),
        ({"metrics_address": "10.110.0.21"}, "need a metrics_token_file"),
        ({"metrics_port": 70_000}, "metrics_port"),
    ],
)
def test_metrics_that_strangers_could_reach_are_refused(
    tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({**BASE, **settings}))
    with pytest.raises(ConfigError, match=complaint):
        read_config(path)


@pytest.mark.parametrize("token", [None, "", "short", "\x80" * 20])
def test_a_token_that_can_not_be_used_is_refused_at_the_start(tmp_path: Path, token: str | None) -> None:
    path = tmp_path / "token"
    if token is not None:
        path.write_text(token, encoding="latin-1")
    config = Config(**BASE, metrics_address="10.110.0.21", metrics_token_file=str(path))
    with pytest.raises(ConfigError, match="metrics_token_file"):
        Exporter(config, view)


BASE: dict[str, Any] = {
    "name": "node-1",
    "control_plane_url": "https://localhost",
    "join_token_file": "/nowhere",
    "private_interface": "eth1",
    "private_address": "10.110.0.21",
}


def test_200_gateways_make_a_page_of_three_series_each() -> None:
    many = view(flows={f"gateway-{number}": 1 for number in range(200)})
    many.counts.keep(())
    for number in range(200):
        many.counts.probed(f"gateway-{number}", answered=True)
    assert Exposed(render(page_of(many))).samples() < 200 * 3 + 60
