"""What real workers do shows at a real web server's /metrics, by way of a real Redis."""

import http.client
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app

from egress.control.services import egress_enable
from tests.exposed import Exposed

from .fleet import Fleet
from .processes import running, wait_for, web_command, worker_command
from .test_processes import hints  # noqa: F401 - a fixture

pytestmark = [pytest.mark.costly, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

TOKEN = "a-token-for-metrics-0123456789"


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: the path of a unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="sgt-") as name:
        yield Path(name)


def test_a_web_server_tells_what_workers_did(fleet: Fleet, folder: Path, redis: str, hints: None) -> None:  # noqa: F811 - the fixture
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    url = redis.replace("redis+socket://", "unix://")
    environment = {"CELERY_BROKER_URL": redis, "CACHE_URL": url, "METRICS_TOKEN": TOKEN}

    def page() -> Exposed:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, text
        return Exposed(text)

    def up() -> bool:
        try:
            page()
        except ConnectionRefusedError:
            return False
        return True

    with running(web_command(port, workers=1), folder / "web.log", **environment):
        wait_for(up, "the web server")
        current_app.send_task("egress.control.tasks.sweep")
        wait_for(lambda: page().value("sluicegate_queue_messages", state="waiting") == 1, "a message that waits")
        fleet.cloud.fail("list_by_tag", "provider_unavailable")
        with running(worker_command(folder, beat=False), folder / "worker.log", **environment):
            current_app.send_task("egress.control.tasks.tidy")
            egress_enable(app=fleet.app, actor=fleet.user)

            def counted(task: str) -> bool:
                return bool(page().value("sluicegate_task_duration_seconds_count", task=task))

            for task in ("sweep", "tidy", "reconcile_assignment"):
                wait_for(lambda task=task: counted(task), f"a run of {task}")  # type: ignore[misc]
            shown = page()
            assert shown.value("sluicegate_task_failures_total", task="tidy") == 1
            assert shown.value("sluicegate_task_failures_total", task="sweep") == 0
            assert shown.value("sluicegate_assignments", status="provisioning") == 1
            assert shown.value("sluicegate_redis_up") == 1
