"""Measure how fast a month of many apps is rated and stated, on SQLite and on a private PostgreSQL.

`python -m tests.bench.rating --engine sqlite|postgresql [--apps 10000] [--hours 744]`. The ledger has a row for each
slot's hour of a month of 31 days, in the order in which metering writes it: 14.9 million for 10,000 apps. One team has
a tenth of the apps, the others a hundred each; half of the teams have a discount that begins in mid-month, and the
price changes in mid-hour, so that every team's ledger is added up in pieces.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.bench.record import ROOT, verdict
from tests.engines.servers import postgresql_server

MONTH = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 31 * 24
APPS_OF_A_TEAM = 100
ENGINES = ("sqlite", "postgresql")
LIMIT_SECONDS = 3_600
#: What must hold: at most.
LIMITS = {"rating and stating the month, s": 30}
_HOUR_OF_LEDGER = """
INSERT INTO billing_usagerecord
    (assignment_id, slot, hour, sequence, seconds, outage_seconds, reason, recorded_at)
SELECT a.id, s.slot, %s, 0, 3600, 0, '', %s
FROM control_assignment a, (SELECT 0 AS slot UNION ALL SELECT 1) s ORDER BY a.id
"""


@contextmanager
def database(engine: str) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="sgt-", ignore_cleanup_errors=True) as folder:
            yield f"sqlite:///{folder}/bench.sqlite3"
        return
    with postgresql_server() as folder:
        os.environ |= {"PGHOST": str(folder), "PGUSER": "postgres"}
        yield "postgres:///postgres"


def fill(apps: int, hours: int) -> dict[str, Any]:
    """Make teams, apps, prices and the ledger; returns the number of its rows and the big team."""
    from django.db import connection, transaction

    from billing.models import Price, Terms, UsageRecord
    from egress.control.models import App, Assignment, AssignmentStatus
    from portal.accounts.models import Team
    from tests.factories import make_cluster

    cluster = make_cluster()
    sizes = [apps // 10, *[APPS_OF_A_TEAM] * (apps * 9 // 10 // APPS_OF_A_TEAM)]
    teams = [Team.objects.create(name=f"Team {n}", slug=f"team-{n}") for n in range(len(sizes))]
    owners = [team for team, size in zip(teams, sizes, strict=True) for _ in range(size)]
    made = App.objects.bulk_create(
        [App(team=team, cluster=cluster, name=f"app-{n}", namespace=f"app-{n}") for n, team in enumerate(owners)],
        batch_size=500,
    )
    Assignment.objects.bulk_create(
        [Assignment(app=app, cluster=cluster, pair=n, status=AssignmentStatus.ACTIVE) for n, app in enumerate(made)],
        batch_size=500,
    )
    change = MONTH + timedelta(days=14, hours=10, minutes=20)
    amounts = {"included_gib": 500, "per_gib": Decimal("0.01")}
    Price.objects.create(
        per_slot_hour=Decimal("0.0186"), starts_at=MONTH - timedelta(days=900), ends_at=change, **amounts
    )
    Price.objects.create(per_slot_hour=Decimal("0.0199"), starts_at=change, **amounts)
    for team in teams[::2]:
        Terms.objects.create(team=team, discount_percent=10, reason="bench", starts_at=MONTH + timedelta(days=20))
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = OFF")
            cursor.execute("PRAGMA cache_size = -4000000")
    for day in range(0, hours, 24):
        with transaction.atomic(), connection.cursor() as cursor:
            for number in range(day, min(day + 24, hours)):
                hour = connection.ops.adapt_datetimefield_value(MONTH + timedelta(hours=number))
                cursor.execute(_HOUR_OF_LEDGER, [hour, hour])
    with connection.cursor() as cursor:
        # As autovacuum leaves a table that was filled in the course of a month.
        cursor.execute("ANALYZE" if connection.vendor == "sqlite" else "VACUUM ANALYZE billing_usagerecord")
    connection.close()
    return {"rows": UsageRecord.objects.count(), "team": teams[0], "teams": len(teams)}


def measure(engine: str, apps: int, hours: int) -> dict[str, Any]:
    """Fill a database and close the month in it."""
    import django

    with database(engine) as url:
        os.environ |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "portal.config.settings", "SECRET_KEY": "bench"}
        django.setup()
        from django.conf import settings
        from django.core.management import call_command
        from django.db import connection

        from billing.models import Statement, StatementLine
        from billing.statements.close import close_month
        from billing.statements.month import forecast, month_to_date
        from egress.control import clock

        call_command("migrate", verbosity=0)
        seconds_to_fill, filled = timed(lambda: fill(apps, hours))
        team = filled["team"]
        now = MONTH + timedelta(days=30)
        to_date, _ = timed(lambda: month_to_date(team, now))
        ahead, _ = timed(lambda: forecast(team, now))
        settings.CLOCK_OFFSET_SECONDS = (datetime(2026, 2, 2, tzinfo=UTC) - clock.now()).total_seconds()
        busy = time.process_time()
        seconds, statements = timed(lambda: close_month(date(2026, 1, 1)))
        busy = round(time.process_time() - busy, 2)
        again, nothing = timed(lambda: close_month(date(2026, 1, 1)))
        assert (statements, nothing) == (filled["teams"], 0)
        figures = {
            "engine": engine,
            "apps": apps,
            "ledger rows": filled["rows"],
            "statements": statements,
            "lines": StatementLine.objects.count(),
            "sum, cents": sum(Statement.objects.values_list("total_cents", flat=True)),
            "filling the ledger, s": seconds_to_fill,
            "rating and stating the month, s": seconds,
            "this process's own time of it, s": busy,
            "closing it again, s": again,
            f"month to date of {apps // 10} apps, s": to_date,
            f"forecast of {apps // 10} apps, s": ahead,
        }
        connection.close()
    return figures


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long it took, in seconds, and what came of it."""
    began = time.perf_counter()
    done = act()
    return round(time.perf_counter() - began, 2), done


def on_both(*, apps: int) -> dict[str, Any]:
    """Return the figures of both engines, each measured in a process of its own."""
    return {"apps": apps, **{engine: _on(engine, apps) for engine in ENGINES}}


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    return {
        f"{name}, {engine}": verdict(figures[engine][name], limit)
        for engine in ENGINES
        for name, limit in LIMITS.items()
    }


def _on(engine: str, apps: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.rating", "--engine", engine, "--apps", str(apps)]
    # It ends with 1 where a limit is passed, and says its figures all the same.
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=LIMIT_SECONDS)
    if not done.stdout:
        raise RuntimeError(f"rating on {engine} failed with {done.returncode}: see above")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure, print the figures as JSON, and fail where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    given = parser.parse_args()
    figures = measure(given.engine, given.apps, given.hours)
    print(json.dumps(figures, indent=2))  # noqa: T201 - the answer
    sys.exit(any(figures[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
