"""The same chain, and the model that it is held against, with numbers that were worked out by hand."""

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product

import pytest

from billing.models import Statement, StatementLine, UsageRecord
from billing.replay import run
from billing.replay.plot import days_of
from billing.replay.scenes import Kind, Plot, Scene, Turn
from tests.integration.billing.replay.judged import check_all

pytestmark = [pytest.mark.costly, pytest.mark.django_db]

GIB = 2**30
FEBRUARY = date(2024, 2, 1)


def at(text: str) -> datetime:
    """Return "DAY HH:MM[:SS[.ffffff]]" of February 2024, which has 29 days."""
    day, time = text.split()
    return datetime.fromisoformat(f"2024-02-{int(day):02}T{time}+00:00")


def price(text: str, per_hour: str, **more: object) -> Scene:
    given = {"starts_at": at(text), "per_slot_hour": Decimal(per_hour), "cap_hours": 672, "included_gib": 10}
    said = datetime(2024, 1, 31, 23, tzinfo=UTC) if text.startswith("1 ") else at("2 00:00")
    return Scene(at=said, kind=Kind.PRICE, given={**given, "per_gib": Decimal("0.01"), **more})


def life(app: int, ready: str, disabled: str, drained: str) -> list[Scene]:
    asked, away = at(f"{ready.split(maxsplit=1)[0]} 00:00"), at(f"{drained.split(maxsplit=1)[0]} 20:10")
    moments = {
        Kind.ENABLE: asked, Kind.READY: at(ready), Kind.ACTIVATE: at(ready), Kind.DISABLE: at(disabled),
        Kind.DRAIN: at(drained), Kind.RELEASE: away, Kind.RELEASED: away,
    }  # fmt: skip
    return [Scene(at=moment, kind=kind, app=app, life=0) for kind, moment in moments.items()]


def plot_by_hand() -> Plot:
    begin, end = at("1 00:00"), datetime(2024, 3, 1, tzinfo=UTC)
    scenes = [
        price("1 00:00", "0.02"),
        price("20 12:30", "0.03"),
        *life(0, "1 00:10:00.900000", "19 20:00:00.999999", "19 20:00:03"),
        *life(1, "20 12:00", "20 13:00", "20 13:00:02"),
        *life(2, "21 01:00", "28 20:00", "28 20:00:01"),
        *life(3, "1 00:10:00.900000", "29 20:00:00.999999", "29 20:00:03"),
        # Disabled for an hour, and taken back; ten minutes later it is in use again.
        Scene(at=at("23 10:00"), kind=Kind.HOLD, app=2, life=0),
        Scene(at=at("23 10:00:01"), kind=Kind.DRAIN, app=2, life=0),
        Scene(at=at("23 11:00"), kind=Kind.RESUME, app=2, life=0),
        Scene(at=at("23 11:10"), kind=Kind.REROUTE, app=2, life=0),
        Scene(at=at("23 11:10:05"), kind=Kind.ACTIVATE, app=2, life=0),
        *(Scene(at=at("2 00:00"), kind=Kind.CARRY, app=app, life=0, node=0) for app in (0, 3)),
        # More than the ten that are included; a report that was overtaken counts nothing.
        Scene(at=at("5 08:00"), kind=Kind.COUNT, app=0, life=0, slot=0, boot="a", bytes=12 * GIB),
        Scene(at=at("5 09:00"), kind=Kind.COUNT, app=0, life=0, slot=0, boot="a", bytes=11 * GIB),
    ]
    turns = [
        Turn(at(moment), app, 0, out, number)
        for number, (moment, app, out) in enumerate(
            product(["10 10:00:00.400", "10 16:00:00.800"], (0, 3), (True, False))
        )
        if out == moment.startswith("10 10")
    ]
    # The node is silent from the 10th to the 14th, and tells of its pivots then.
    scenes += [
        Scene(at=day, kind=Kind.REPORT, node=0, turns=turns if day == at("14 02:00") else [])
        for day in days_of(begin, end)
        if not at("10 00:00") < day < at("14 00:00")
    ]
    scenes.sort(key=lambda scene: scene.at)
    return Plot(begin=begin, end=end, apps=4, teams=1, nodes=1, scenes=scenes)


def test_a_month_costs_what_was_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    plot = plot_by_hand()
    monkeypatch.setattr(run, "plot_of", lambda **_: plot)
    run.replay(seed=0, first=FEBRUARY, count=1, apps=4)
    lines = {
        (line.app.name, line.slot, line.kind): (line.quantity, line.cents)
        for line in StatementLine.objects.select_related("app")
        if line.app
    }
    # 18 days, 19 h 50 min, less 6 h of outage: 445 h 50 min at 0.02.
    first = 18 * 86_400 + 19 * 3_600 + 50 * 60 - 6 * 3_600
    assert first == 1_605_000
    # Of 29 days, 10 min at the beginning and 4 h at the end are missing, and six hours: over the cap.
    last = 29 * 86_400 - 600 - 4 * 3_600 - 6 * 3_600
    assert last == 2_469_000
    assert lines == {
        ("replay-app-1", 0, "usage"): (first, 892),
        ("replay-app-1", 1, "usage"): (first, 892),
        # 2 GiB beyond, at 0.01.
        ("replay-app-1", 0, "traffic"): (12 * GIB, 2),
        # Half an hour at 0.02 and half an hour at 0.03 are 2.5 cents: half to even.
        ("replay-app-2", 0, "usage"): (3_600, 2),
        ("replay-app-2", 1, "usage"): (3_600, 2),
        # 187 h less 70 min at 0.03 are 557.5 cents: half to even.
        ("replay-app-3", 0, "usage"): (187 * 3_600 - 70 * 60, 558),
        ("replay-app-3", 1, "usage"): (187 * 3_600 - 70 * 60, 558),
        # 672 h less their share of 6 h in 696 h are 2,398,344 s: 1,664,400 at 0.02 and 733,944 at 0.03.
        ("replay-app-4", 0, "usage"): (last, 1_536),
        ("replay-app-4", 1, "usage"): (last, 1_536),
    }
    capped = StatementLine.objects.get(app__name="replay-app-4", slot=1)
    assert [part["charged_seconds"] for part in capped.detail["parts"]] == [1_664_400, 733_944]
    assert Statement.objects.get().total_cents == 2 * (892 + 2 + 558 + 1_536) + 2
    late = UsageRecord.objects.filter(sequence__gt=0).values_list("hour__day", "hour__hour", "seconds")
    assert {(day, hour) for day, hour, _ in late} == {(10, hour) for hour in range(10, 16)}
    assert sum(seconds for *_, seconds in late) == -2 * 2 * 6 * 3_600
    check_all(plot, FEBRUARY, 1)
