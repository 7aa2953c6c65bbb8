"""From events to statements: what metering books is what is stated, to the second, also while a price changes."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Sum
from pytest_django import Settings

from billing import models
from billing.models import Statement, UsageRecord
from billing.statements.close import close_month, close_months
from billing.statements.trace import trace
from egress.control.models import Assignment, Event
from tests.integration.billing.statements.rows import (
    FEBRUARY,
    JANUARY,
    MARCH,
    at,
    cents,
    go_to,
    make_assignment,
    make_price,
)

pytest.importorskip("billing.metering")
pytestmark = pytest.mark.django_db
GIB = 2**30


def tell(assignment: Assignment, when: datetime, subject: str, new: str = "", old: str = "") -> None:
    kind = Event.Kind.STATUS if subject == "assignment.status" else Event.Kind.REQUEST
    Event.objects.create(
        at=when, kind=kind, subject=subject, old=old, new=new, assignment=assignment, app=assignment.app,
        cluster=assignment.cluster,
    )  # fmt: skip


def use(assignment: Assignment, begin: datetime, end: datetime) -> None:
    tell(assignment, begin, "assignment.status", "distributing", "provisioning")
    tell(assignment, end, "egress.disable")


@pytest.fixture
def assignment(settings: Settings) -> Assignment:
    go_to(settings, JANUARY)
    return make_assignment(created_at=JANUARY)


def test_each_second_counts_at_the_price_in_force_in_it(assignment: Assignment, settings: Settings) -> None:
    # 10:50:00 to 12:00:01 on the 10th. The price is 3.60 an hour until 10:20, 7.20 until 10:55, then 36.
    make_price("3.60", ends_at=at(10, 10, 20))
    make_price("7.20", at(10, 10, 20), ends_at=at(10, 10, 55))
    make_price("36", at(10, 10, 55))
    use(assignment, at(10, 10, 50) + timedelta(milliseconds=300), at(10, 12) + timedelta(seconds=1, milliseconds=900))
    go_to(settings, FEBRUARY + timedelta(days=1))
    assert close_months() == 1
    made = Statement.objects.get()
    # 300 s at 0.2 cents, 3,901 s at 1 cent.
    assert cents(made) == [60 + 3901] * 2
    line = made.lines.get(position=1)
    assert [(part["seconds"], part["per_slot_hour"]) for part in line.detail["parts"]] == [
        (300, "7.20000000"), (3901, "36.00000000"),
    ]  # fmt: skip
    found = trace(line)
    assert (found.adds_up, found.booked, len(found.events)) == (True, 4201, 2)


def test_an_event_that_comes_late_is_a_correction_and_the_sums_agree(
    assignment: Assignment, settings: Settings
) -> None:
    make_price("3.60")
    tell(assignment, at(10, 10), "assignment.status", "distributing", "provisioning")
    go_to(settings, FEBRUARY + timedelta(days=1))
    close_month(date(2026, 1, 1))
    tell(assignment, at(10, 11), "egress.disable")
    go_to(settings, MARCH + timedelta(days=2))
    models.Meter.objects.update(marked_at=JANUARY)
    close_months()
    models.Meter.objects.update(marked_at=JANUARY)
    close_months()
    lines = models.StatementLine.objects.filter(unit="second")
    ledger = UsageRecord.objects.aggregate(sum=Sum("seconds"))["sum"]
    assert ledger == lines.aggregate(sum=Sum("quantity"))["sum"] == 2 * 3600
    assert lines.aggregate(sum=Sum("cents"))["sum"] == 2 * 360
    assert all(trace(line).adds_up for line in lines)


def test_traffic_beyond_what_is_included_is_charged_and_corrected(assignment: Assignment, settings: Settings) -> None:
    make_price("1", included_gib=10, per_gib=2)
    ledger: Any = models.TrafficRecord
    use(assignment, at(10, 10), at(10, 11))

    def send(gib: int, hour: int, sequence: int = 0) -> None:
        ledger.objects.create(assignment=assignment, slot=0, hour=at(20, hour), sent_bytes=gib * GIB, sequence=sequence)

    send(8, 1)
    send(5, 2)
    go_to(settings, FEBRUARY + timedelta(days=1))
    close_months()
    made = Statement.objects.get()
    assert [(line.kind, line.cents, line.quantity) for line in made.lines.all()] == [
        ("usage", 100, 3600), ("traffic", 600, 13 * GIB), ("usage", 100, 3600),
    ]  # fmt: skip
    assert trace(made.lines.get(kind="traffic")).adds_up
    send(-1, 2, sequence=1)
    go_to(settings, MARCH + timedelta(days=1))
    close_months()
    late = Statement.objects.get(month=date(2026, 2, 1))
    assert [(line.kind, line.cents, line.quantity) for line in late.lines.all()] == [
        ("correction", -200, -GIB), ("credit", 200, 0),
    ]  # fmt: skip
    assert trace(late.lines.get(kind="correction")).adds_up
