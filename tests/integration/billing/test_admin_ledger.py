"""The operators' pages of the ledger."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.models import TrafficRecord, UsageRecord
from egress.control.models import Assignment
from tests.factories import make_app, make_cluster, make_team

from .statements.rows import FEBRUARY, JANUARY, at, book, go_to, make_assignment

pytestmark = [pytest.mark.costly, pytest.mark.django_db]
MODELS = ("usagerecord", "trafficrecord")


@pytest.fixture(autouse=True)
def _now(settings: Settings) -> None:
    go_to(settings, at(3, month=2))


def write(assignment: Assignment, hour: Any = JANUARY, hours: int = 1) -> None:
    book(assignment, hour, hours)
    TrafficRecord.objects.create(assignment=assignment, slot=0, hour=hour, sent_bytes=3 * 2**30)


def listed(client: Client, model: str, **choice: Any) -> list[Any]:
    answer = client.get(reverse(f"admin:billing_{model}_changelist"), choice)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_found_by_month_team_app_and_cluster(admin_client: Client, model: str) -> None:
    cluster, team = make_cluster(), make_team()
    first = make_assignment(app=make_app(team, cluster))
    second = make_assignment(app=make_app(team))
    third = make_assignment(app=make_app(cluster=cluster))
    for number, assignment in enumerate((first, second, third)):
        write(assignment, (JANUARY, JANUARY, FEBRUARY)[number])

    def found(**choice: Any) -> set[Assignment]:
        return {row.assignment for row in listed(admin_client, model, **choice)}

    assert found() == {first, second, third}
    assert found(in_month="2026-01") == {first, second}
    assert found(in_month="2026-02") == {third}
    assert found(in_month="2025-12") == set()
    assert found(in_month="never") == {first, second, third}
    assert found(assignment__app__team__id__exact=team.pk) == {first, second}
    assert found(assignment__app__id__exact=third.app_id) == {third}
    assert found(assignment__cluster__id__exact=cluster.pk) == {first, third}
    assert found(in_month="2026-01", assignment__cluster__id__exact=cluster.pk) == {first}


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_looked_at_and_never_changed(admin_client: Client, model: str) -> None:
    write(make_assignment())
    row: Any = UsageRecord.objects.first() if model == "usagerecord" else TrafficRecord.objects.first()
    page = reverse(f"admin:billing_{model}_change", args=[row.pk])
    assert admin_client.get(page).status_code == 200
    refused = [
        admin_client.post(page, {"seconds": "1"}),
        admin_client.post(reverse(f"admin:billing_{model}_delete", args=[row.pk]), {"post": "yes"}),
        admin_client.get(reverse(f"admin:billing_{model}_add")),
    ]
    assert [answer.status_code for answer in refused] == [403] * 3


@pytest.mark.parametrize("model", MODELS)
def test_the_list_never_counts_a_ledger_and_asks_as_often_for_many_rows(admin_client: Client, model: str) -> None:
    page = reverse(f"admin:billing_{model}_changelist")
    write(make_assignment(), hours=60)
    admin_client.get(page)

    def asked() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            answer = admin_client.get(page, {"in_month": "2026-01"})
        assert len(answer.context["cl"].result_list) <= 50
        return [query["sql"] for query in queries]

    few = asked()
    for _ in range(5):
        write(make_assignment(), hours=30)
    many = asked()
    assert len(few) == len(many)
    assert len(many) <= 6
    assert not [sql for sql in many if f'FROM "billing_{model}"' in sql and "COUNT(" in sql]
    # A part of the index, read from its end: whatever the ledger's length.
    (rows,) = [sql for sql in many if f'FROM "billing_{model}"' in sql]
    assert f'ORDER BY "billing_{model}"."hour" DESC' in rows
    assert "LIMIT" in rows
