"""/metrics: to who shows the token; state from the rows, counts of all workers by Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from billing import metrics as billing
from egress.control import clock, installation
from egress.control.agents import calls as agents
from egress.control.errors import ClusterInvalid
from egress.control.metrics import page, tallies
from egress.control.metrics.table import METRICS
from egress.control.models import Assignment, AssignmentStatus, Gateway, GatewayStatus, Health, Node
from egress.control.models_installation import Installation, StrayServer
from egress.control.models_repair import ClusterRepair
from egress.control.models_rollouts import Rollout, RolloutStatus
from egress.control.services import cluster_change
from egress.wire.messages import GatewayReport, GatewaySyncRequest
from egress.wire.scrape import token_digest
from tests.exposed import ROOT, Exposed, needs_promtool, promtool
from tests.factories import make_app, make_cluster, make_node

from .fleet import Fleet

pytestmark = pytest.mark.costly

TOKEN = "a-token-for-metrics-0123456789"


@pytest.fixture(autouse=True)
def _fresh(settings: Settings) -> Iterator[None]:
    settings.METRICS_TOKEN = TOKEN
    page._kept.cache_clear()
    tallies._paused_until = 0.0
    yield
    page._kept.cache_clear()


@pytest.fixture
def counting(redis: str, settings: Settings) -> str:
    """Have a Redis to count in."""
    url = redis.replace("redis+socket://", "unix://")
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}}
    settings.CELERY_BROKER_URL = redis
    return redis


def scrape(token: str = TOKEN) -> Exposed:
    page._kept.cache_clear()
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    return Exposed(answer.content.decode())


# --- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
)
def test_nobody_without_the_token_is_told_or_costs_a_query(
    db: None, authorization: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        answer = Client().get("/metrics", headers={"Authorization": authorization})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert b"sluicegate" not in answer.content


def test_without_a_token_in_the_settings_there_is_nothing(db: None, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404
    assert Client().get("/metrics").status_code == 404


def test_two_at_once_cost_the_database_one_page(db: None, django_assert_num_queries: Any) -> None:
    with CaptureQueriesContext(connection) as first:
        scrape()
    assert 5 < len(first) < 40
    with django_assert_num_queries(0):
        Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("token", ["short", "x" * 201, "with a blank in it", "ümlaute-ümlaute-ümlaute"])
def test_a_token_that_can_not_be_sent_or_guessed_easily_stops_the_start(token: str) -> None:
    environment = {**os.environ, "METRICS_TOKEN": token, "SECRET_KEY": "x"}
    words = [sys.executable, "-c", "import portal.config.settings"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "METRICS_TOKEN must have 16 to 200" in done.stderr
    assert token not in done.stderr


# --- state -----------------------------------------------------------------------------------------------------------


def test_it_shows_its_own_metrics_and_no_others(fleet: Fleet, counting: str) -> None:
    fleet.bring_up()
    tallies.task_ended("sweep", 0.02, failed=False)
    tallies.provider_answered("ok", 4_990, 5_000)
    scrape().is_exactly((*METRICS, *billing.METRICS))


def test_a_pair_that_works_is_counted_as_such(fleet: Fleet) -> None:
    fleet.bring_up()
    shown, cluster = scrape(), fleet.cluster.name
    assert shown.value("sluicegate_assignments", cluster=cluster, status="active") == 1
    assert shown.value("sluicegate_gateways", cluster=cluster, status="ready", health="healthy") == 2
    assert shown.value("sluicegate_nodes", cluster=cluster, health="healthy", dataplane="ok") == 2
    assert shown.value("sluicegate_pairs_without_gateway", cluster=cluster) == 0
    fleet.cluster.refresh_from_db()
    assert shown.value("sluicegate_cluster_revision", cluster=cluster) == fleet.cluster.revision > 0
    assert shown.value("sluicegate_route_lag_seconds", cluster=cluster) == 0
    assert shown.value("sluicegate_assignments_of_concern", cluster=cluster, concern="slow") == 0
    assert shown.value("sluicegate_redis_up") == 0


def test_a_pair_of_which_both_are_sick_is_an_outage(fleet: Fleet) -> None:
    fleet.bring_up()
    for gateway in fleet.gateways():
        fleet.report_gateway(gateway, forwarding=False)
    shown, cluster = scrape(), fleet.cluster.name
    assert shown.value("sluicegate_pairs_without_gateway", cluster=cluster) == 1
    assert shown.value("sluicegate_gateways_of_concern", cluster=cluster, concern="unhealthy") == 2
    assert shown.value("sluicegate_assignments_of_concern", cluster=cluster, concern="degraded") == 1


def test_a_node_that_lags_is_counted_with_how_long(fleet: Fleet) -> None:
    fleet.bring_up()
    # Times as the database writes them, an hour ago.
    Node.objects.filter(pk=fleet.nodes[0].pk).update(applied_revision=0)
    fleet.cluster.route_changes.update(changed_at=clock.now() - timedelta(hours=1))
    shown, cluster = scrape(), fleet.cluster.name
    lag = shown.value("sluicegate_route_lag_seconds", cluster=cluster)
    assert lag is not None
    assert 3_600 <= lag < 4_000
    assert shown.value("sluicegate_nodes_of_concern", cluster=cluster, concern="behind") == 1


def test_a_node_of_another_history_has_applied_nothing_of_ours(fleet: Fleet) -> None:
    fleet.bring_up()
    Node.objects.filter(pk=fleet.nodes[0].pk).update(applied_epoch="another", applied_revision=10**6)
    fleet.cluster.route_changes.update(changed_at=clock.now() - timedelta(hours=1))
    lag = scrape().value("sluicegate_route_lag_seconds", cluster=fleet.cluster.name)
    assert lag is not None
    assert lag >= 3_600


def test_what_is_stuck_or_overdue_is_counted(fleet: Fleet) -> None:
    fleet.bring_up()
    old = clock.now() - timedelta(hours=2)
    changes = {"status": AssignmentStatus.DISTRIBUTING, "status_since": old, "due_at": old}
    Assignment.objects.update(**changes)
    Gateway.objects.update(provisioning_status=GatewayStatus.DELETING, status_since=old)
    shown, cluster = scrape(), fleet.cluster.name
    assert shown.value("sluicegate_assignments_of_concern", cluster=cluster, concern="slow") == 1
    assert shown.value("sluicegate_gateways_of_concern", cluster=cluster, concern="stuck") == 2
    assert shown.value("sluicegate_reconcile_due") == 1
    overdue = shown.value("sluicegate_reconcile_overdue_seconds")
    assert overdue is not None
    assert 7_200 <= overdue < 7_600


def test_orphans_breakers_and_a_hold_are_shown(db: None) -> None:
    StrayServer.objects.create(server_id="7", name="sg-x", created_at="2026-01-01T00:00:00Z")
    installation.hold(reason="a test")
    Installation.objects.update(tripped_at=clock.now())
    shown = scrape()
    assert shown.value("sluicegate_stray_servers", concern="undecided") == 1
    assert shown.value("sluicegate_stray_servers", concern="doomed") == 0
    assert shown.value("sluicegate_installation_of_concern", concern="held") == 1
    assert shown.value("sluicegate_installation_of_concern", concern="tripped") == 1
    assert shown.value("sluicegate_installation_of_concern", concern="foreign") == 0


def test_customers_names_addresses_and_secrets_are_not_shown(fleet: Fleet, counting: str) -> None:
    fleet.bring_up()
    text = scrape().text
    for secret in (
        fleet.app.name,
        fleet.app.team.slug,
        fleet.user.email,
        *(gateway.public_address for gateway in fleet.gateways()),
        *(gateway.private_address for gateway in fleet.gateways()),
        fleet.cluster.probe_key,
        fleet.cluster.join_token_hash,
        TOKEN,
    ):
        assert str(secret) not in text


def test_the_number_of_queries_does_not_grow_with_the_rows(fleet: Fleet) -> None:
    fleet.bring_up()
    with CaptureQueriesContext(connection) as few:
        scrape()
    for number in range(5):
        make_node(fleet.cluster, token=f"more-{number}")
        Assignment.objects.create(app=make_app(cluster=fleet.cluster), cluster=fleet.cluster, pair=100 + number)
    with CaptureQueriesContext(connection) as more:
        assert scrape().value("sluicegate_assignments", status="provisioning") == 5
    # One for the cluster that lags now.
    assert len(more) <= len(few) + 1


@needs_promtool
def test_promtool_takes_it(fleet: Fleet, counting: str) -> None:
    fleet.bring_up()
    tallies.task_ended("sweep", 0.02, failed=True)
    tallies.provider_answered("provider_unavailable", None, None)
    promtool("check", "metrics", text=scrape().text)


# --- counts ----------------------------------------------------------------------------------------------------------


def test_tasks_are_counted_for_all_processes(db: None, counting: str) -> None:
    tallies.task_ended("reconcile_assignment", 0.3, failed=False)
    tallies.task_ended("reconcile_assignment", 60, failed=True)
    tallies.connect.cache_clear()
    shown, task = scrape(), "reconcile_assignment"
    assert shown.value("sluicegate_task_duration_seconds_count", task=task) == 2
    assert shown.value("sluicegate_task_duration_seconds_sum", task=task) == pytest.approx(60.3)
    assert shown.value("sluicegate_task_duration_seconds_bucket", task=task, le="0.1") == 0
    assert shown.value("sluicegate_task_duration_seconds_bucket", task=task, le="0.5") == 1
    assert shown.value("sluicegate_task_duration_seconds_bucket", task=task, le="45") == 1
    assert shown.value("sluicegate_task_duration_seconds_bucket", task=task, le="+Inf") == 2
    assert shown.value("sluicegate_task_failures_total", task=task) == 1
    assert shown.value("sluicegate_redis_up") == 1


def test_the_providers_word_on_its_limit_is_kept(db: None, counting: str) -> None:
    tallies.provider_answered("ok", 4_000, 5_000)
    tallies.provider_answered("ok", 3_999, 5_000)
    tallies.provider_answered("provider_unavailable", None, None)
    shown = scrape()
    assert shown.value("sluicegate_provider_calls_total", outcome="ok") == 2
    assert shown.value("sluicegate_provider_calls_total", outcome="provider_unavailable") == 1
    assert shown.value("sluicegate_provider_requests_remaining") == 3_999
    assert shown.value("sluicegate_provider_requests_limit") == 5_000


def test_the_queue_is_measured(db: None, counting: str) -> None:
    broker = tallies.connect(counting.replace("redis+socket://", "unix://"))
    for _ in range(3):
        broker.lpush("reconcile", "message")
    shown = scrape()
    assert shown.value("sluicegate_queue_messages", queue="reconcile", state="waiting") == 3
    assert shown.value("sluicegate_queue_messages", queue="reconcile", state="taken") == 0


def test_a_redis_that_is_away_costs_counts_only(fleet: Fleet, settings: Settings, tmp_path: Path) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"unix://{tmp_path}/nowhere.sock",
        }
    }
    settings.CELERY_BROKER_URL = f"redis+socket://{tmp_path}/nowhere.sock"
    tallies.task_ended("sweep", 1, failed=False)
    tallies.provider_answered("ok", 1, 2)
    fleet.bring_up()
    shown = scrape()
    shown.is_exactly((*METRICS, *billing.METRICS))
    assert shown.value("sluicegate_redis_up") == 0
    assert shown.value("sluicegate_assignments", status="active") == 1


# --- gateways --------------------------------------------------------------------------------------------------------


def told(fleet: Fleet) -> Any:
    (gateway, *_) = fleet.gateways()
    return agents.gateway_clients(
        token=fleet.tokens[str(gateway.pk)], message=GatewaySyncRequest(applied_revision=0, wait_seconds=0)
    )


def test_gateways_are_told_who_may_ask_and_the_tokens_digest_only(fleet: Fleet, settings: Settings) -> None:
    fleet.bring_up()
    assert (told(fleet).scrapers, told(fleet).scrape_digest) == ((), "")
    cluster_change(cluster=fleet.cluster, actor=None, scrapers=["10.110.0.5"])
    assert (told(fleet).scrapers, told(fleet).scrape_digest) == (("10.110.0.5",), token_digest(TOKEN))
    assert (told(fleet).app, told(fleet).slot) == (str(fleet.app.pk), 0)
    settings.METRICS_TOKEN = ""
    assert told(fleet).scrape_digest == ""


@pytest.mark.parametrize(
    ("scrapers", "why"),
    [
        (["192.0.2.1"], "isn't in the VPC"),
        (["10.110.0.0/24"], "is no IPv4 address"),
        ("10.110.0.5", "Give a list"),
        ([5], "is no IPv4 address"),
        (["10.110.0.5"] * 9, "Give a list of at most 8"),
    ],
)
def test_scrapers_that_gateways_would_choke_on_are_refused(db: None, scrapers: Any, why: str) -> None:
    cluster = make_cluster()
    with pytest.raises(ClusterInvalid, match=why):
        cluster_change(cluster=cluster, actor=None, scrapers=scrapers)
    cluster.refresh_from_db()
    assert cluster.scrapers == []


def test_health_is_a_label_of_its_own(fleet: Fleet) -> None:
    fleet.bring_up()
    Gateway.objects.filter(slot=0).update(health=Health.UNKNOWN)
    assert scrape().value("sluicegate_gateways", health="unknown", status="ready") == 1


def test_what_gateways_say_of_their_tables_and_ports_is_shown_by_the_worst(fleet: Fleet) -> None:
    fleet.bring_up()
    for gateway, entries, ports in zip(fleet.gateways(), (1_000, 200_000), (60_000, 5), strict=True):
        report = GatewayReport(
            boot_id="boot",
            agent_version="1",
            forwarding=True,
            conntrack_entries=entries,
            conntrack_limit=250_000,
            snat_ports_worst=ports,
        )
        agents.gateway_report(token=fleet.tokens[str(gateway.pk)], message=report)
    shown, cluster = scrape(), fleet.cluster.name
    assert shown.value("sluicegate_gateways_conntrack_use_ratio_max", cluster=cluster) == pytest.approx(0.8)
    assert shown.value("sluicegate_gateways_snat_ports_worst_max", cluster=cluster) == 60_000
    assert shown.value("sluicegate_gateway_findings", cluster=cluster, finding="well") == 2


def test_repair_and_rollouts_that_stopped_are_shown(fleet: Fleet) -> None:
    fleet.bring_up()
    cluster = fleet.cluster.name
    assert scrape().value("sluicegate_repair_stopped", cluster=cluster) == 0
    ClusterRepair.objects.update_or_create(cluster=fleet.cluster, defaults={"stopped_at": clock.now()})
    Rollout.objects.create(cluster=fleet.cluster, status=RolloutStatus.STOPPED)
    shown = scrape()
    assert shown.value("sluicegate_repair_stopped", cluster=cluster) == 1
    assert shown.value("sluicegate_rollouts_under_way", cluster=cluster, status="stopped") == 1
