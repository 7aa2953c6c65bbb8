"""What the control plane's database says of pairs and nodes, read from beside it: no part of it need run for that."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def pairs(state: Path, namespaces: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the gateways of each app that aren't deleted, as rows."""
    query = """
        SELECT app.namespace, gateway.* FROM control_gateway gateway
        JOIN control_assignment assignment ON assignment.id = gateway.assignment_id
        JOIN control_app app ON app.id = assignment.app_id
        WHERE gateway.provisioning_status != 'deleted' AND assignment.status != 'released'
    """
    found: dict[str, list[dict[str, Any]]] = {namespace: [] for namespace in namespaces}
    for row in _rows(state, query):
        if row["namespace"] in found:
            found[row["namespace"]].append(row)
    return found


def unwell(state: Path, namespaces: Iterable[str], *, reported_after: datetime) -> list[str]:
    """Return what keeps these apps from being well: anything but two gateways, ready, and healthy to everybody."""
    nodes = _rows(state, "SELECT * FROM control_node WHERE status = 'live'")
    wrong = [f"{node['name']} is {node['health']}" for node in nodes if node["health"] != "healthy"]
    wrong += [f"{node['name']} hasn't reported" for node in nodes if not _fresh(node, reported_after)]
    for namespace, gateways in pairs(state, namespaces).items():
        if len(gateways) != 2:
            wrong.append(f"{namespace} has {len(gateways)} gateways")
        for gateway in gateways:
            name = f"{namespace} {'AB'[gateway['slot']]}"
            status = gateway["provisioning_status"], gateway["health"]
            if status != ("ready", "healthy") or not _fresh(gateway, reported_after):
                wrong.append(f"{name} is {' and '.join(status)}")
            for node in nodes:
                seen = json.loads(node["gateways"]).get(_dashed(gateway["id"]))
                if seen != "healthy":
                    wrong.append(f"{name} is {seen} to {node['name']}")
    return wrong


def _fresh(row: dict[str, Any], after: datetime) -> bool:
    if row["reported_at"] is None:
        return False
    # Not from a future that a clock was in, either.
    return after <= datetime.fromisoformat(row["reported_at"]).replace(tzinfo=UTC) <= datetime.now(UTC)


def _dashed(number: str) -> str:
    return "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))


def _rows(state: Path, query: str) -> list[dict[str, Any]]:
    database = sqlite3.connect(f"file:{state / 'sluicegate.sqlite3'}?mode=ro", uri=True, timeout=20)
    with closing(database):
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]
