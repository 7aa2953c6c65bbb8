"""Workers are killed by SIGKILL before and after every commit of a close, and several close at once: one ledger."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from pytest_django import Settings

from billing.metering import late
from billing.metering.close import close_hours
from billing.models import Meter, Recheck, TrafficRecord, UsageRecord
from egress.control import clock
from egress.control.models import Assignment
from egress.control.models_traffic import HourOfTraffic
from tests.factories import make_cluster
from tests.integration.billing.dying import Ended, in_processes
from tests.integration.billing.metering.history import (
    MIDNIGHT,
    at,
    begin_use,
    carry,
    ledger,
    make_assignment,
    pivot,
    rows,
    tell,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
END = at("14:00")


@pytest.fixture(autouse=True)
def _kept(settings: Settings) -> None:
    settings.EGRESS_TOLD_KEPT_DAYS = (datetime.now(UTC) - MIDNIGHT).days + 10


def close(until: datetime, **wanted: Any) -> list[Ended]:
    return in_processes(lambda: close_hours(until), **wanted)


def play() -> tuple[Assignment, Assignment]:
    """Close some hours, then let facts come late; returns the assignments of which something is left to be written.

    What earlier plays left is in the ledger, and is closed again.
    """
    Meter.objects.all().delete()
    Recheck.objects.all().delete()
    cluster = make_cluster()
    late_one, other = make_assignment(cluster), make_assignment(cluster, pair=2)
    begin_use(late_one, at("09:30"))
    begin_use(other, at("09:45"))
    node = carry(other, at("09:00"), heard=at("13:30"))
    assert close(at("11:00"))[0].error == ""
    tell(late_one, at("10:20"), "egress.disable")
    pivot(other, node, at("10:10"), out=True)
    pivot(other, node, at("12:10"), out=False)
    HourOfTraffic.objects.create(gateway=other.gateways.get(slot=0), hour=at("11:00"), sent_bytes=9)
    settle()
    assert close(at("11:00"))[0].error == ""
    settle()
    return late_one, other


def settle() -> None:
    Meter.objects.update(marked_at=clock.unmoved() - late.SETTLE - timedelta(seconds=1))


def check(late_one: Assignment, other: Assignment) -> None:
    assert Meter.objects.get().closed_until == END
    for slot in (0, 1):
        assert ledger(late_one, slot) == {"09": (1800, 0), "10": (1200, 0)}
        hours = {"09": (900, 0), "10": (600, 3000), "11": (0, 3600), "12": (3000, 600), "13": (3600, 0)}
        assert ledger(other, slot) == hours
    corrected = [row for row in rows([late_one, other]) if row[3]]
    assert sorted(row[4] for row in corrected) == [-3000, -3000, -2400, -2400], "each correction once"
    assert [row.sent_bytes for row in TrafficRecord.objects.filter(assignment=other)] == [9]


@pytest.mark.costly
def test_a_worker_killed_at_any_commit_leaves_what_the_next_makes_whole() -> None:
    deaths = 0
    for number in count(1):
        for when in ("before", "after"):
            pair = play()
            (ended,) = close(END, die_at=number, when=when)
            assert ended.error == ""
            if not ended.killed:
                check(*pair)
                assert (when, len(ended.passed)) == ("before", number - 1)
                assert deaths == 2 * (number - 1) >= 8, "the close notes, corrects, adds rows and moves on"
                return
            deaths += 1
            for _ in range(2):
                assert close(END)[0].error == ""
            check(*pair)


def test_several_workers_at_once_make_one_ledger() -> None:
    for _ in range(3):
        pair = play()
        for ended in close(END, count=4):
            assert (ended.killed, ended.error) == (False, "")
        # Who was overtaken left it to the others, and all but one were.
        check(*pair)
    assert UsageRecord.objects.filter(sequence__gt=1).count() == 0
