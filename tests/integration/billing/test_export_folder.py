"""The export folder: whole files, the same bytes whoever writes them and however often, and a word on what is wrong."""

import hashlib
import html
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing import tasks
from billing.exports import folder as folders
from billing.exports.folder import MANIFEST, locked
from billing.exports.months import export_months
from billing.models import MonthExport, Statement, UsageRecord
from tests.factories import make_app, make_team
from tests.integration.billing.dying import Ended, Points, in_process, watch_commits
from tests.integration.billing.exports_made import (
    BEGIN,
    HOUR,
    MONTH,
    assignment_of,
    every_hour,
    ledger,
    line,
    statement,
    whole_month,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly]

FILES = ["focus-1.2-2026-10-day.csv", "usage-2026-10-day.csv", "usage-2026-10-day.jsonl"]


@pytest.fixture
def out(tmp_path: Path, settings: Settings) -> Path:
    settings.BILLING_EXPORT_DIR = str(tmp_path / "exports")
    return tmp_path / "exports"


@pytest.fixture
def finished(db: None) -> Statement:
    return whole_month()


def held(folder: Path) -> dict[str, bytes]:
    """Return what finance's programs find: all but what is under way and the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part" and path.name != ".lock"]
    return {path.name: path.read_bytes() for path in files}


def manifest_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "2026-10" / MANIFEST).read_text())
    return found


def test_finished_month_is_written_with_a_manifest_that_tells_it_exactly(out: Path, finished: Statement) -> None:
    tasks.export_months()

    manifest, files = manifest_in(out), held(out)
    assert sorted(files) == sorted([*FILES, MANIFEST])
    assert (manifest["month"], manifest["statements"], manifest["amounts"]) == ("2026-10", 1, {"USD": "12.800000"})
    for told in manifest["files"]:
        content = files[told["name"]]
        assert told["sha256"] == hashlib.sha256(content).hexdigest()
        assert told["bytes"] == len(content)
        assert told["rows"] == len(content.splitlines()) - (not told["name"].endswith("jsonl")) == 8
        assert told["amounts"] == manifest["amounts"]
    row = MonthExport.objects.get()
    assert (row.month, row.problem, row.manifest) == (MONTH, "", manifest)


def test_task_run_twice_writes_once(out: Path, finished: Statement) -> None:
    tasks.export_months()
    before = {path: path.stat().st_mtime_ns for path in (out / "2026-10").iterdir()}

    tasks.export_months()
    assert {path: path.stat().st_mtime_ns for path in (out / "2026-10").iterdir()} == before


def test_written_again_it_has_the_same_bytes(out: Path, finished: Statement) -> None:
    export_months()
    before = held(out)
    (out / "2026-10" / MANIFEST).unlink()

    # What comes late belongs to a later statement.
    record = UsageRecord.objects.first()
    assert record is not None
    UsageRecord.objects.create(
        assignment=record.assignment, slot=record.slot, hour=record.hour, sequence=1, seconds=-60, reason="late"
    )
    assert export_months() == 1
    assert held(out) == before


def test_another_file_wanted_later_is_added(out: Path, finished: Statement, settings: Settings) -> None:
    export_months()
    (out / "2026-10" / "usage-2026-10-hour.csv.part").write_text("what a killed worker left")
    settings.BILLING_EXPORT_FILES = ["focus:hour", "csv:day"]

    assert export_months() == 1
    assert {file["name"] for file in manifest_in(out)["files"]} == {"focus-1.2-2026-10-hour.csv", FILES[1]}
    assert not list(out.rglob("*.part"))


def test_nothing_is_written_without_a_folder(finished: Statement, settings: Settings) -> None:
    assert settings.BILLING_EXPORT_DIR == ""
    assert export_months() == 0


def test_one_process_writes_and_others_do_nothing(out: Path, finished: Statement) -> None:
    with locked(out) as mine:
        assert mine
        assert export_months() == 0
        assert held(out) == {}

    assert export_months() == 1


def test_month_waits_for_all_teams_that_used_something(out: Path, finished: Statement) -> None:
    other = assignment_of(make_app())
    ledger(other, every_hour(end=BEGIN + HOUR))

    assert export_months() == 0
    assert held(out) == {}
    assert other.app.team.slug in MonthExport.objects.get().problem


def test_rows_that_do_not_add_up_are_not_written_and_an_operator_sees_it(out: Path, admin_client: Client) -> None:
    team = make_team()
    statement(team, [line(cents=1280)], total_cents=1281)

    assert export_months() == 0
    assert held(out) == {}
    problem = MonthExport.objects.get().problem
    assert "12.800000" in problem
    assert "12.810000" in problem
    page = admin_client.get(reverse("admin:billing_monthexport_changelist")).content.decode()
    assert html.escape(problem) in page


def test_a_problem_that_is_gone_is_told_no_more(out: Path, finished: Statement) -> None:
    MonthExport.objects.create(month=MONTH, at=BEGIN, problem="the disk was full")

    assert export_months() == 1
    assert MonthExport.objects.get().problem == ""


def test_folder_that_cannot_be_written_is_told(out: Path, finished: Statement) -> None:
    out.mkdir()
    (out / "2026-10").write_text("a file where the month's folder should be")

    assert export_months() == 0
    assert "2026-10" in MonthExport.objects.get().problem


def test_a_bad_month_does_not_hold_up_others(out: Path, finished: Statement) -> None:
    earlier = MONTH.replace(month=9)
    Statement.objects.create(team=finished.team, month=earlier, currency="USD", total_cents=7)

    assert export_months() == 1
    assert {str(row): bool(row.problem) for row in MonthExport.objects.all()} == {"2026-09": True, "2026-10": False}


def watch_files(points: Points) -> None:
    """See every file that gets its name, everything that is brought to the disk, every commit, and each chunk."""

    def round_of(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with points.at(name):
                return real(*args, **kwargs)

        return call

    watch_commits(points)
    Path.replace = round_of("name", Path.replace)  # type: ignore[method-assign]
    os.fsync = round_of("disk", os.fsync)
    in_chunks = folders.write

    def write(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        for chunk in in_chunks(*args, **kwargs):
            with points.at("chunk"):
                yield chunk

    folders.write = write


def written(folder: Path, settings: Settings, **wanted: Any) -> Ended:
    settings.BILLING_EXPORT_DIR = str(folder)
    return in_process(export_months, watch=watch_files, **wanted)


def test_killed_anywhere_it_leaves_whole_files_and_the_next_run_finishes(
    tmp_path: Path, settings: Settings, finished: Statement
) -> None:
    settings.BILLING_EXPORT_FILES = ["csv:day", "focus:day"]
    points = written(tmp_path / "unharmed", settings).passed
    whole = held(tmp_path / "unharmed")
    assert {"name", "disk", "chunk", "commit"} <= {point.rpartition(":")[2] for point in points}

    for number, point in enumerate(points, 1):
        for when in ("before", "after"):
            folder = tmp_path / f"killed-{when}-{number}"
            ended = written(folder, settings, die_at=number, when=when)
            assert (ended.killed, ended.passed) == (True, points[:number]), "killed there"
            left = held(folder)
            assert left.items() <= whole.items(), f"half a file after a kill {when} {point}"
            assert MANIFEST not in left or left == whole, f"a manifest without its files after a kill {when} {point}"
            assert written(folder, settings).error == ""
            assert held(folder) == whole, f"not finished after a kill {when} {point}"
            assert not list(folder.rglob("*.part"))
