"""Measure exports of a month, hour by hour, on PostgreSQL: by the command in each format, and through a web server.

Time is that of a whole process, start included; memory is the most that it ever held. What is sent by HTTP is read by
this process and thrown away.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from portal.demo.parts import Part, Parts
from tests.bench.distribution import cpu_seconds
from tests.bench.record import ROOT, verdict
from tests.engines.servers import postgresql_server

#: A month of 30 days.
MONTH, HOURS = "2026-09", 720
APPS_PER_TEAM = 50
FORMATS = ("csv", "jsonl", "focus")
LIMIT_SECONDS = 1800
UVICORN = (sys.executable, "-m", "uvicorn", "portal.config.asgi:application", "--no-access-log", "--lifespan", "off",
           "--http", "portal.config.patience:PatientProtocol", "--timeout-graceful-shutdown", "1")  # fmt: skip
#: What must hold, at most: 50,000 rows a second, and memory.
SECONDS_PER_MILLION, MEMORY_MIB = 20, 200


def measure(*, gateways: int) -> dict[str, Any]:
    """Fill a database, export it, and return the figures."""
    with tempfile.TemporaryDirectory(prefix="sgt-bench-") as folder, postgresql_server() as database:
        os.environ |= {
            "DATABASE_URL": "postgres:///postgres",
            "PGHOST": str(database),
            "PGUSER": "postgres",
            "CELERY_BROKER_URL": "memory://localhost",
            "SECRET_KEY": secrets.token_hex(),
            "SLUICEGATE_STATE_DIR": folder,
            "LOG_LEVEL": "WARNING",
        }
        token = _fill(gateways // 2)
        by_command = {form: _command(form) for form in FORMATS}
        return {"gateways": gateways, "command": by_command, "http": _http(Path(folder), token)}


def _command(form: str) -> dict[str, float]:
    """Export by `manage.py export_usage`."""
    command = [sys.executable, "manage.py", "export_usage", "--month", MONTH, "--format", form, "--grain", "hour"]
    begun = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"export_usage failed: {said[-1000:]}")
    seconds = time.perf_counter() - begun
    return _figures(int(said.split()[0]), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _http(folder: Path, token: str) -> dict[str, float]:
    """Export through the API of a web server, as FOCUS."""
    parts = Parts(folder, directory=ROOT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        parts.start("web", Part(command=(*UVICORN, "--fd", str(fd)), fds=(fd,)), os.environ)
        try:
            begun = time.perf_counter()
            rows = _download(listener.getsockname(), token)
            web = parts.pid("web")
            return _figures(rows, time.perf_counter() - begun, cpu_seconds([web]), _peak_mib(web))
        finally:
            parts.stop_all(last=())


def _download(where: tuple[str, int], token: str) -> int:
    """Read an export; returns its rows."""
    connection = HTTPConnection(*where, timeout=LIMIT_SECONDS)
    path = f"/api/v1/operator/billing/export?month={MONTH}&format=focus&grain=hour"
    connection.request("GET", path, headers={"Authorization": f"Token {token}"})
    answer = connection.getresponse()
    lines = 0
    while chunk := answer.read(1 << 20):
        lines += chunk.count(b"\n")
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the export was answered with {answer.status}")
    return lines - 1


def _figures(rows: int, seconds: float, cpu: float, mib: float) -> dict[str, float]:
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_s": round(rows / seconds),
        # Of the process alone, without the database's.
        "cpu_s": round(cpu, 1),
        "peak_mib": round(mib, 1),
    }


def _peak_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def _fill(apps: int) -> str:
    """Make a finished month of so many pairs, all of them used in every hour; returns an operator's token."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.config.settings"
    import django  # once its settings are in the environment

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from portal.accounts.models import ApiToken, Team
    from tests.factories import make_cluster
    from tests.integration.billing.exports_made import price

    call_command("migrate", verbosity=0)
    cluster = make_cluster()
    price()
    teams = [Team(name=f"Team {number}", slug=f"team-{number}") for number in range(-(-apps // APPS_PER_TEAM))]
    Team.objects.bulk_create(teams)
    for number, team in enumerate(teams):
        _fill_team(team, cluster, range(number * APPS_PER_TEAM, min(apps, (number + 1) * APPS_PER_TEAM)))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    _, token = ApiToken.issue(team=teams[0], name="bench", created_by=None, can_operate=True)
    connection.close()
    return token


def _fill_team(team: Any, cluster: Any, numbers: range) -> None:
    from datetime import UTC, date, datetime
    from decimal import Decimal

    from django.db import connection

    from billing.models import Statement, StatementLine
    from egress.control.models import App, Assignment

    begin, end = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    apps = [App(team=team, cluster=cluster, name=f"app-{number}", namespace=f"app-{number}") for number in numbers]
    App.objects.bulk_create(apps)
    pairs = [Assignment(app=app, cluster=cluster, pair=n) for n, app in zip(numbers, apps, strict=True)]
    Assignment.objects.bulk_create(pairs)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_usagerecord"
            " (assignment_id, slot, hour, sequence, seconds, outage_seconds, reason, recorded_at)"
            " SELECT a.id, s, %s::timestamptz + h * interval '1 hour', 0, 3600, 0, '', now()"
            " FROM unnest(%s::uuid[]) AS a(id), generate_series(0, 1) s, generate_series(0, %s) h",
            [begin, [pair.pk for pair in pairs], HOURS - 1],
        )
        cursor.execute("SELECT max(id) FROM billing_usagerecord")
        last = cursor.fetchone()[0]
    statement = Statement.objects.create(
        team=team, month=date(2026, 9, 1), currency="USD", total_cents=2500 * len(pairs), ledger_up_to=last
    )
    StatementLine.objects.bulk_create(
        StatementLine(
            statement=statement,
            position=number * 2 + slot,
            kind=StatementLine.Kind.USAGE,
            app=pair.app,
            assignment=pair,
            slot=slot,
            description=f"{pair.app.name}, gateway {'AB'[slot]}: 720 h",
            quantity=HOURS * 3600,
            unit="second",
            begin=begin,
            end=end,
            exact=Decimal("12.5"),
            cents=1250,
        )
        for number, pair in enumerate(pairs)
        for slot in (0, 1)
    )


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    ways = {
        **{f"export as {form}": figure for form, figure in figures["command"].items()},
        "export by HTTP": figures["http"],
    }
    results: dict[str, dict[str, Any]] = {}
    for name, figure in ways.items():
        pace = round(figure["seconds"] / figure["rows"] * 1_000_000, 1)
        results[f"{name}, s per million rows"] = verdict(pace, SECONDS_PER_MILLION)
        results[f"{name}, most memory, MiB"] = verdict(figure["peak_mib"], MEMORY_MIB)
    return results
