"""Bytes are taken from gateways' counters once each, whatever restarts, is overtaken or told twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from billing.metering import books, close
from billing.models import TrafficRecord
from egress.control import clock
from egress.control.agents import calls as agents
from egress.control.models import Gateway
from egress.control.models_traffic import HourOfTraffic
from egress.control.told import traffic
from egress.wire.messages import GatewayReport
from portal.accounts.models import token_hash
from tests.integration.billing.metering.history import begin_use, make_assignment


@pytest.fixture
def gateway(db: None) -> Gateway:
    assignment = make_assignment()
    begin_use(assignment, clock.now() - timedelta(hours=2))
    gateway = assignment.gateways.get(slot=1)
    Gateway.objects.filter(pk=gateway.pk).update(token_hash=token_hash("gateway-token"))
    return gateway


def report(sent: int, boot: str = "first") -> None:
    message = GatewayReport(boot_id=boot, agent_version="1", forwarding=True, bytes_out=sent)
    agents.gateway_report(token="gateway-token", message=message)


def told() -> int:
    return sum(HourOfTraffic.objects.values_list("sent_bytes", flat=True))


def booked() -> list[tuple[int, int, int]]:
    return list(TrafficRecord.objects.order_by("hour", "sequence").values_list("slot", "sequence", "sent_bytes"))


def pass_hours(settings: Settings, hours: int) -> None:
    """Let time pass up to ten minutes after an hour."""
    now = clock.now()
    then = now.replace(minute=10, second=0, microsecond=0) + timedelta(hours=hours)
    settings.CLOCK_OFFSET_SECONDS += int((then - now).total_seconds()) + 1


@pytest.mark.parametrize(
    ("readings", "total"),
    [
        ([("a", 100), ("a", 250)], 250),
        ([("a", 100), ("a", 100)], 100),
        ([("a", 250), ("a", 100), ("a", 260)], 260),
        ([("a", 100), ("b", 30), ("b", 40)], 140),
        ([("a", 100), ("b", 200)], 300),
        ([("a", 100), ("b", 30), ("a", 100), ("b", 40)], 140),
        ([("a", 5), ("a", 0), ("a", 7)], 7),
        ([("a", 5), ("b", 0), ("c", 3)], 8),
    ],
    ids=["grows", "told twice", "overtaken", "restarts", "restarts higher", "late of the boot before", "no interface",
         "boots in a row"],
)  # fmt: skip
def test_each_byte_is_counted_once(gateway: Gateway, readings: list[tuple[str, int]], total: int) -> None:
    for boot, reading in readings:
        report(reading, boot)
    assert told() == total
    assert Gateway.objects.get(pk=gateway.pk).bytes_out == readings[-1][1], "what it says itself is shown as it is"


def test_a_rebuilt_gateway_begins_anew_though_its_boot_was_named_at_enrolment(gateway: Gateway) -> None:
    report(100)
    Gateway.objects.filter(pk=gateway.pk).update(boot_id="second")
    report(40, "second")
    assert told() == 140


def test_a_report_that_is_not_committed_is_made_up_for_by_the_next(gateway: Gateway) -> None:
    report(100)
    with transaction.atomic():
        report(170)
        transaction.set_rollback(True)
    assert told() == 100
    report(180)
    assert told() == 180


def test_traffic_is_in_the_ledger_by_the_hour_in_which_it_was_told(gateway: Gateway, settings: Settings) -> None:
    pass_hours(settings, 1)
    report(100)
    pass_hours(settings, 1)
    report(150)
    close.close_hours()
    assert booked() == [(1, 0, 100)], "the present hour isn't over"
    pass_hours(settings, 1)
    for _ in range(2):
        close.close_hours()
    assert booked() == [(1, 0, 100), (1, 0, 50)]


def test_both_gateways_of_a_slot_count_when_one_replaced_the_other(gateway: Gateway, settings: Settings) -> None:
    pass_hours(settings, 1)
    report(100)
    Gateway.objects.filter(pk=gateway.pk).update(token_hash=None, provisioning_status="deleted")
    Gateway.objects.create(assignment=gateway.assignment, slot=1, token_hash=token_hash("gateway-token"))
    report(30)
    pass_hours(settings, 1)
    close.close_hours()
    assert booked() == [(1, 0, 130)]


def test_what_was_written_just_after_the_close_is_added_with_the_next_hour(
    gateway: Gateway, settings: Settings
) -> None:
    pass_hours(settings, 1)
    report(100)
    pass_hours(settings, 1)
    close.close_hours()
    HourOfTraffic.objects.update(sent_bytes=120)
    pass_hours(settings, 1)
    close.close_hours()
    assert booked() == [(1, 0, 100), (1, 1, 20)]
    assert TrafficRecord.objects.get(sequence=1).reason == books.LATE_REPORT


@pytest.mark.django_db(transaction=True)
def test_reports_at_once_count_no_byte_twice(gateway: Gateway) -> None:
    """Every other one is overtaken."""

    def tell(reading: int) -> None:
        try:
            report(reading)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(tell, (reading + (30 if reading % 20 else 0) for reading in range(10, 250, 10))))
    assert told() == 260


def test_readings_advance_purely() -> None:
    counter = traffic.Counter("", 0, "")
    counter, fresh = traffic.advanced(counter, "a", 10)
    assert (counter, fresh) == (traffic.Counter("a", 10, ""), 10)
    assert traffic.advanced(counter, "a", 10) == (counter, 0)
    assert traffic.advanced(counter, "b", 3) == (traffic.Counter("b", 3, "a"), 3)
