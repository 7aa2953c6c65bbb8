"""What fails says so without the secrets that it failed with: passwords in URLs, tokens in headers."""

import sys
from pathlib import Path

import pytest

from .processes import running, wait_for, web_command, worker_command
from .test_bounds import exchange, free_port, head, status_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(240)]

CANARY = "canary-5f1c9a"
#: Nobody listens there.
AWAY = {
    "DATABASE_URL": f"postgres://sluicegate:{CANARY}@127.0.0.1:1/sluicegate",
    "CELERY_BROKER_URL": f"redis://:{CANARY}@127.0.0.1:1/0",
    "DIGITALOCEAN_TOKEN": CANARY,
    "SECRET_KEY": CANARY * 5,
}


def test_a_worker_that_reaches_neither_broker_nor_database_names_no_password(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with running(worker_command(tmp_path, beat=False), log, **AWAY) as worker:
        wait_for(lambda: "Cannot connect to redis" in log.read_text(), "the worker's complaint")
        assert CANARY not in Path(f"/proc/{worker.pid}/cmdline").read_text()
    assert CANARY not in log.read_text()


def test_a_web_server_without_its_database_names_no_password_and_no_token(tmp_path: Path) -> None:
    log, port = tmp_path / "web.log", free_port()
    body = b'{"boot_id": "b", "agent_version": "1", "dataplane": "ok"}'
    report = head("nodes/report", f"Content-Length: {len(body)}", "Connection: close", token=f"sgn_{CANARY}") + body
    lines = ["GET /api/v1/apps HTTP/1.1", "Host: localhost", f"Authorization: Token sgt_{CANARY}", "Connection: close"]
    api = "\r\n".join([*lines, "", ""])
    with running(web_command(port, workers=1), log, **AWAY):

        def refused() -> bytes:
            try:
                return exchange(port, report)
            except OSError:
                return b""

        wait_for(refused, "the web server")
        answers = [refused(), exchange(port, api.encode())]
        assert [status_of(answer) for answer in answers] == [503, 500]
        assert not any(CANARY.encode() in answer for answer in answers)
    assert "OperationalError" in log.read_text()
    assert CANARY not in log.read_text()


def test_a_command_without_its_database_names_no_password(tmp_path: Path) -> None:
    log = tmp_path / "command.log"
    with running([sys.executable, "manage.py", "migrate"], log, **AWAY) as command:
        command.wait(60)
    assert "OperationalError" in log.read_text()
    assert CANARY not in log.read_text()
