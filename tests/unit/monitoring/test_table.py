"""What is written about metrics is true of what is shown: table, alarms, runbooks, dashboard, sample configuration."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from billing import metrics as billing
from billing.collecting import concerns as money
from billing.statements.concerns import problem_concerns
from egress.control import attention
from egress.control.metrics import table
from egress.gateway import metrics as gateway
from egress.node import metrics as node
from egress.provider import base
from egress.wire.exposition import Metric
from egress.wire.scrape import PORT
from tests.exposed import ROOT, names, needs_promtool, promtool

PAGE = ROOT / "docs" / "metrics.md"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
SAMPLE = ROOT / "deploy" / "prometheus" / "prometheus.yml"
RULE_TESTS = sorted((ROOT / "deploy" / "prometheus" / "tests").glob("*.yml"))
DASHBOARD = ROOT / "deploy" / "grafana" / "sluicegate.json"
RUNBOOKS = {path.stem: path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")}
SHOWN = (("control plane", (*table.METRICS, *billing.METRICS)), ("node", node.METRICS), ("gateway", gateway.METRICS))
ALL = [metric for _, metrics in SHOWN for metric in metrics]
LABELS = {metric.name: set(metric.labels) for metric in ALL}
ALARMS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
METRIC = re.compile(r"\bsluicegate_[a-z0-9_]+")


def rows() -> list[str]:
    """Return the table's lines as they must be."""
    return [_row(metric, who) for who, metrics in SHOWN for metric in metrics]


def _row(metric: Metric, who: str) -> str:
    labels = " ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {who} | {metric.help} |"


def test_the_table_is_what_the_three_show() -> None:
    lines = PAGE.read_text().splitlines()
    assert [line for line in lines if line.startswith("| `")] == rows()


def test_names_are_ours_and_used_once_and_follow_the_convention() -> None:
    assert len(LABELS) == len(ALL)
    for metric in ALL:
        assert METRIC.fullmatch(metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not metric.name.endswith(("_ms", "_milliseconds", "_percent", "_kb")), metric.name
        assert metric.help.endswith(".")


def unknown(expression: str) -> set[str]:
    """Return the names in `expression` that no endpoint shows."""
    # Values of labels, such as a job's name, are no metrics.
    return set(METRIC.findall(re.sub(r'"[^"]*"', "", expression))) - names(ALL)


def test_a_name_that_nobody_shows_is_found() -> None:
    """Else the other tests show nothing."""
    assert unknown('rate(sluicegate_nodes{job="sluicegate_x"}[5m]) > sluicegate_nothing') == {"sluicegate_nothing"}


# --- alarms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_asks_for_what_is_shown_and_has_severity_and_page(alarm: str) -> None:
    rule = ALARMS[alarm]
    assert not unknown(rule["expr"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alarm}.md"
    assert alarm in RUNBOOKS
    for metric, matched in re.findall(r"(sluicegate_[a-z_]+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r'(\w+)=~?"', matched)) <= LABELS[metric]


def test_concerns_and_outcomes_in_alarms_are_ones_that_there_are() -> None:
    known = {concern.key for concern in _concerns()}
    named = {
        key
        for rule in ALARMS.values()
        for keys in re.findall(r'concern=~?"([^"]*)"', rule["expr"])
        for key in keys.split("|")
    }
    assert named
    assert named <= known


def _concerns() -> list[attention.Concern]:
    return [
        *attention.gateway_concerns(),
        *attention.assignment_concerns(),
        *attention.node_concerns(),
        *attention.stray_concerns(),
        *attention.installation_concerns(),
        *attention.event_concerns(),
        *money.refusal_concerns(),
        *money.invoice_concerns(),
        *money.movement_concerns(),
        *money.event_concerns(),
        *problem_concerns(),
    ]


def test_each_alarm_is_seen_to_ring_and_to_be_quiet_where_all_is_well() -> None:
    rings, quiet = set(), set()
    for path in RULE_TESTS:
        for each in yaml.safe_load(path.read_text())["tests"]:
            for expected in each["alert_rule_test"]:
                (rings if expected["exp_alerts"] else quiet).add((each["name"], expected["alertname"]))
    assert {alarm for _, alarm in rings} == set(ALARMS)
    # Just before it is due, and in an installation that is well.
    assert {(alarm, alarm) for alarm in ALARMS} <= quiet
    assert {("all is well", alarm) for alarm in ALARMS} <= quiet


@needs_promtool
def test_the_alarms_ring_as_they_should() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    promtool("test", "rules", *RULE_TESTS)


@needs_promtool
def test_prometheus_takes_the_sample_configuration(tmp_path: Path) -> None:
    text = SAMPLE.read_text().replace("/etc/prometheus", str(tmp_path))
    for name in ("sluicegate-token", "digitalocean-token"):
        (tmp_path / name).write_text("a token")
    (tmp_path / "rules.yml").write_bytes(RULES.read_bytes())
    (tmp_path / "prometheus.yml").write_text(text)
    assert f"{len(ALARMS)} rules found" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_the_sample_asks_where_agents_listen() -> None:
    assert f":{PORT}" in SAMPLE.read_text()
    assert set(re.findall(r":(9\d\d\d)\b", SAMPLE.read_text())) == {str(PORT)}


def test_the_jobs_that_alarms_name_are_the_samples() -> None:
    jobs = {job["job_name"] for job in yaml.safe_load(SAMPLE.read_text())["scrape_configs"]}
    named = {job for rule in ALARMS.values() for job in re.findall(r'job="([^"]*)"', rule["expr"])}
    assert named <= jobs


# --- runbooks --------------------------------------------------------------------------------------------------------

HEADINGS = ["What it means", "What customers feel", "How to look", "What to do"]
COMMANDS = {
    path.stem
    for pattern in ("*/management/commands/*.py", "*/*/management/commands/*.py")
    for path in ROOT.glob(pattern)
    if path.stem != "__init__"
} | {"check"}  # Django's own


@pytest.mark.parametrize("alarm", RUNBOOKS)
def test_a_runbook_belongs_to_an_alarm_and_names_what_exists(alarm: str) -> None:
    text = RUNBOOKS[alarm]
    assert alarm in ALARMS
    assert text.startswith(f"# {alarm}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert not unknown(text)
    assert set(re.findall(r"manage\.py (\w+)", text)) <= COMMANDS
    assert set(re.findall(r"\]\((\w+)\.md\)", text)) <= RUNBOOKS.keys()
    labels = {concern.label for concern in _concerns()}
    assert set(re.findall(r"\*\*attention: ([^*]*)\*\*", text)) <= labels
    codes = {each.code for each in vars(base).values() if isinstance(each, type) and hasattr(each, "code")}
    assert set(re.findall(r"`(provider_[a-z_]+)`", text)) <= codes
    for unit in re.findall(r"sluicegate-node|sluicegate-gateway", text):
        assert unit == "sluicegate-node", "nobody logs in to a gateway"


# --- dashboard -------------------------------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_every_query_of_the_dashboard_asks_for_what_is_shown() -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    assert len(queries) > 20
    assert not unknown(" ".join(queries))


def test_the_dashboard_covers_what_operators_ask_for() -> None:
    asked = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert names(ALL) - set(METRIC.findall(asked)) <= {
        # Told by other panels, or looked up by hand.
        *(f"sluicegate_{name}_info" for name in ("control", "node")),
        "sluicegate_node_routes", "sluicegate_node_containers", "sluicegate_node_applied_revision",
        "sluicegate_gateway_applied_revision", "sluicegate_gateway_clients", "sluicegate_cluster_revision",
        "sluicegate_node_gateway_connections", "sluicegate_gateway_targets",
        "sluicegate_task_duration_seconds_count", "sluicegate_task_duration_seconds_sum",
        "sluicegate_node_probe_round_trip_seconds_count", "sluicegate_node_probe_round_trip_seconds_sum",
    }  # fmt: skip


def test_no_two_panels_share_an_id_or_a_place() -> None:
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken = set()
    for panel in every:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@needs_promtool
def test_every_query_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$cluster", ".*")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "queries.yml")
