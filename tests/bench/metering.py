"""Measure how long closing an hour takes for 10,000 gateways, on SQLite and on PostgreSQL.

Each engine has a process of its own, in which the hours are closed one call an hour. The
tables are filled as a fleet leaves them: most events are other ones than metering's. Then both gateways of all
apps are out for some minutes, which all nodes tell late, so that every app's hours are looked at again.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.bench.record import ROOT, verdict
from tests.engines.servers import postgresql_server

HOURS = 5
OTHER_EVENTS = 60
NODES = 4
ENGINES = ("sqlite", "postgresql")
#: What must hold: at most.
HOUR_SECONDS_LIMIT = 5
LIMIT_SECONDS = 1_800


def measure(*, gateways: int) -> dict[str, Any]:
    """Return the figures of both engines."""
    return {"gateways": gateways, **{engine: _on(engine, gateways) for engine in ENGINES}}


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    return {
        f"closing an hour on {engine}, the slowest, s": verdict(max(figures[engine]["hour_s"]), HOUR_SECONDS_LIMIT)
        for engine in ENGINES
    }


def _on(engine: str, gateways: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="sgt-bench-", ignore_cleanup_errors=True) as folder,
        postgresql_server() if engine == "postgresql" else nullcontext() as server,
    ):
        environment = {**os.environ, "SLUICEGATE_STATE_DIR": folder, "SECRET_KEY": secrets.token_hex()}
        environment |= {"CELERY_BROKER_URL": "memory://", "LOG_LEVEL": "WARNING"}
        if server is not None:
            environment |= {"DATABASE_URL": "postgres:///postgres", "PGHOST": str(server), "PGUSER": "postgres"}
        else:
            environment |= {"DATABASE_URL": f"sqlite:///{Path(folder) / 'bench.sqlite3'}"}
        command = [sys.executable, "-m", "tests.bench.metering", str(gateways)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_SECONDS
        )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def close_hours_of(gateways: int) -> dict[str, Any]:
    """Fill the tables, close hours, and return how long each took."""
    from billing.metering import close, late
    from billing.models import Meter, UsageRecord
    from egress.control import clock

    end = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    begin = end - timedelta(hours=HOURS)
    _fill(gateways, begin, end)
    took = []
    for number in range(HOURS):
        began = time.perf_counter()
        closed = close.close_hours(begin + timedelta(hours=number + 1))
        took.append(round(time.perf_counter() - began, 3))
        if closed != 1:
            raise RuntimeError(f"closed {closed} hours instead of one")
    if (rows := UsageRecord.objects.count()) != gateways * HOURS:
        raise RuntimeError(f"{rows} rows are in the ledger instead of {gateways * HOURS}")
    _tell_of_outages(begin)
    spans = []
    # The first sets the marks, the second finds what came late.
    for _ in range(2):
        Meter.objects.update(marked_at=clock.unmoved() - late.SETTLE)
        began = time.perf_counter()
        close.close_hours(end)
        spans.append(round(time.perf_counter() - began, 3))
    corrected = UsageRecord.objects.filter(sequence=1).count()
    if corrected != gateways:
        raise RuntimeError(f"{corrected} rows were corrected instead of {gateways}")
    return {"hour_s": took, "all_corrected_over_five_hours_s": spans[1]}


def _fill(gateways: int, begin: datetime, end: datetime) -> None:
    from egress.control.models import App, Assignment, AssignmentStatus, Event, Gateway
    from egress.control.models_told import Carry
    from egress.control.models_traffic import HourOfTraffic
    from tests.factories import make_cluster, make_node, make_team

    cluster, team, pairs = make_cluster(), make_team(), range(1, gateways // 2 + 1)
    apps = [App(team=team, cluster=cluster, name=f"app-{pair}", namespace=f"app-{pair}") for pair in pairs]
    App.objects.bulk_create(apps, batch_size=1_000)
    active = AssignmentStatus.ACTIVE
    every = [
        Assignment(app=app, cluster=cluster, pair=pair, status=active) for app, pair in zip(apps, pairs, strict=True)
    ]
    Assignment.objects.bulk_create(every, batch_size=1_000)
    vms = [Gateway(assignment=assignment, slot=slot) for assignment in every for slot in (0, 1)]
    Gateway.objects.bulk_create(vms, batch_size=500)
    hours = [begin + timedelta(hours=number) for number in range(HOURS)]
    traffic = (HourOfTraffic(gateway=vm, hour=hour, sent_bytes=10**9) for vm in vms for hour in hours)
    HourOfTraffic.objects.bulk_create(traffic, batch_size=1_000)
    nodes = [make_node(cluster, reported_at=end) for _ in range(NODES)]
    carries = (Carry(node=node, assignment=assignment, since=begin) for node in nodes for assignment in every)
    Carry.objects.bulk_create(carries, batch_size=1_000)
    moves = (("", "provisioning"), ("provisioning", "distributing"), ("distributing", "active"))
    told = [("assignment.status", *move) for move in moves] + [
        ("gateway.health", "healthy", "unhealthy")
    ] * OTHER_EVENTS
    events = (
        Event(at=begin, kind="status", assignment=assignment, cluster=cluster, subject=subject, old=old, new=new)
        for assignment in every
        for subject, old, new in told
    )
    Event.objects.bulk_create(events, batch_size=1_000)


def _tell_of_outages(begin: datetime) -> None:
    from egress.control.models import Gateway, Node
    from egress.control.models_told import Pivot

    pairs = list(Gateway.objects.filter(slot=0).values_list("assignment", "pk"))
    pivots = (
        Pivot(
            node=node,
            number=2 * number + back,
            at=at,
            moved_at=at,
            assignment_id=assignment,
            gateway_id=gateway if back else None,
        )
        for node in Node.objects.all()
        for number, (assignment, gateway) in enumerate(pairs)
        for back, at in enumerate((begin + timedelta(minutes=10), begin + timedelta(minutes=15)))
    )
    Pivot.objects.bulk_create(pivots, batch_size=1_000)


def main() -> None:
    """Measure on the engine that the environment names, and print the figures."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.config.settings"
    import django  # once its settings are in the environment

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    sys.stdout.write(json.dumps(close_hours_of(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
