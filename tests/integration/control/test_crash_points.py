"""A worker is killed by SIGKILL before and after every commit, provider call and message of the control plane.

`POINTS` lists them. The list can't rot: a point that a scenario passes and that isn't listed fails a test, as does a
listed one that isn't passed, and a line of the code that commits or calls and that no scenario reaches.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest
from pytest_django import Settings

from egress.control import installation
from egress.control.models_installation import Installation
from egress.control.reconcile.plan import Act

from . import crash_sites
from .cloud import FileCloud
from .crash_scenarios import SCENARIOS
from .crash_worker import Worker
from .fleet import make_fleet
from .play import MAX_DEATHS, Kill, Play
from .processes import database_url

#: Of the long form.
RANDOM_RUNS = 30

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(240)]


#: Every point, with the scenario in which it kills, in the order in which they are passed.
POINTS: dict[str, tuple[str, ...]] = {
    "enable": (
        "egress_enable:commit-_begin",
        "egress_enable:send",
        "sweep:send",
        "reconcile:commit-acquire",
        "begin_create:commit-_move",
        "create:commit-renew",
        "create:create_or_adopt",
        "create:commit-_move",
        "poll:get",
        "poll:commit-_poll",
        "check_placement:neighbours",
        "check_placement:commit-_settle_placement",
        "mark_ready:commit-_move",
        "distribute:commit-_publish_and_move",
        "activate:commit-_activate",
        "reconcile:commit-release",
        "reconcile:commit-drop",
    ),
    "enable_in_short_runs": ("reconcile:commit-release",),
    "disable": (
        "egress_disable:commit-egress_disable",
        "egress_disable:send",
        "drain:commit-_publish_and_move",
        "release:commit-_release",
        "begin_delete:commit-_move",
        "delete:commit-renew",
        "delete:list_by_tag",
        "delete:delete",
        "delete:list_by_tag#2",
        "delete:commit-_move",
        "finish:commit-_finish",
    ),
    "servers_are_not_deleted": ("finish:commit-_finish", "delete:delete", "delete:commit-_move"),
    "refused_at_last": (
        "create:commit-_after_provider_error",
        "egress_retry:commit-egress_retry",
        "egress_retry:send",
    ),
    "boot_fails": ("fail_boot:commit-_fail_gateway", "add_gateway:commit-_add_gateway"),
    "server_disappears": ("poll:commit-_fail_gateway", "delete:get"),
    "rebuild": (
        "gateway_maintain:commit-gateway_maintain",
        "gateway_maintain:send",
        "announce:commit-_announce",
        "begin_maintenance:commit-_move",
        "maintain:commit-_maintain",
        "maintain:rebuild",
        "maintain:commit-_maintain#2",
        "check_maintenance:action_status",
        "check_maintenance:commit-_check_maintenance",
        "check_maintenance:commit-_after_provider_error",
        "check_maintenance:commit-_move",
    ),
    "reboot": ("maintain:reboot", "maintain:commit-_maintain#2", "check_maintenance:commit-_move"),
    "power_cycle": ("maintain:power_cycle", "maintain:commit-_maintain#2", "check_maintenance:commit-_move"),
    "drained_and_taken_back": (
        "gateway_drain:commit-gateway_drain",
        "gateway_drain:send",
        "gateway_undrain:commit-gateway_undrain",
        "gateway_undrain:send",
    ),
    "drained_then_rebooted": ("gateway_maintain:commit-gateway_maintain", "begin_maintenance:commit-_move"),
    "roll": (
        "rollout_start:commit-rollout_start",
        "roll:image_regions",
        "roll:commit-_check_image",
        "roll:commit-_check_image#2",
        "roll:commit-_advance",
        "roll:send",
        "rollout_pause:commit-_move",
        "rollout_resume:commit-rollout_resume",
    ),
    "roll_aborted": ("rollout_abort:commit-rollout_abort", "rollout_abort:send"),
    "roll_refused": ("roll:image_regions", "roll:commit-_check_image#2"),
    "roll_stops": ("roll:commit-_advance", "roll:send"),
    "rebuild_called_off": ("resume:commit-_move",),
    "rebuild_refused": ("maintain:commit-_after_provider_error",),
    "rebuild_finds_no_server": ("maintain:get",),
    "rebuild_takes_too_long": ("fail_maintenance:commit-_move",),
    "bug": ("reconcile:commit-_postpone_after_crash",),
    "one_host": ("check_placement:commit-_check_placement",),
    "one_host_for_ever": ("check_placement:commit-_settle_placement",),
    "places_unknown_for_a_while": ("check_placement:commit-_after_provider_error",),
    "places_never_known": ("check_placement:commit-_after_provider_error",),
    "gateway_dies": ("watch:commit-_conclude", "watch:commit-permit", "watch:commit-_begin", "watch:send"),
    "gateway_is_off": ("tidy:commit-_note_statuses", "tidy:send", "maintain:power_on"),
    "lost_gateway_is_replaced": (
        "watch:commit-_begin",
        "add_successor:commit-add_successor",
        "take_over:neighbours",
        "take_over:commit-settle",
    ),
    "replacement_does_not_boot": ("fail_boot:commit-abandon",),
    "replacement_lands_on_the_peers_host": ("take_over:commit-take_over",),
    "replacement_stands_nobody_knows_where": ("take_over:commit-_after_provider_error",),
    "operator_replaces": ("gateway_replace:commit-gateway_replace", "gateway_replace:send"),
    "repair_stops": ("watch:commit-permit", "go_on:commit-go_on"),
    "repair_is_exhausted": ("watch:commit-_tell_exhausted",),
    "all_fall_silent": ("watch:commit-observe_node",),
    "worker_was_away": ("watch:commit-beat",),
    "duplicate_lands": ("tidy:list_by_tag", "tidy:commit-permit", "tidy:delete"),
    "breaker_trips": ("tidy:commit-permit", "reset:commit-reset"),
    "stray_is_deleted": (
        "tidy:commit-_take_in",
        "tidy:commit-keep",
        "deletion_order:commit-_order",
        "deletion_withdraw:commit-_order",
        "tidy:commit-permit",
        "tidy:delete",
        "tidy:commit-_let_go",
    ),
    "pair_is_taken_back": ("tidy:commit-_take_in", "pair_adopt:commit-pair_adopt", "pair_adopt:send"),
    "server_in_use_is_lost": ("tidy:get", "tidy:commit-_fail", "tidy:send"),
    "node_is_ahead": (
        "acknowledge:commit-note_ahead",
        "acknowledge:commit-_note",
        "resume:commit-resume",
        "resume:send",
    ),
    "operator_holds": ("hold:commit-hold",),
    "outage_is_chosen_for": (
        "outage_choose:commit-outage_choose",
        "outage_choose:send",
        "announce:commit-_announce",
    ),
    "first_start": ("sweep:commit-here",),
}
LISTED = {point for points in POINTS.values() for point in points}
BOTH = ("before", "after")


def deaths() -> Iterator[Any]:
    """Yield in which scenario workers die, where and when: once before every point, at a few in a row.

    Nothing lasting happens between two passages, so that what a kill before one leaves is what a kill after the last
    one leaves.
    """
    seen: set[str] = set()
    for scenario, points in POINTS.items():
        new = [point for point in points if point not in seen]
        seen |= set(new)
        for number in range(0, len(new), MAX_DEATHS):
            yield pytest.param(scenario, [(point, "before") for point in new[number : number + MAX_DEATHS]])


def lone_deaths() -> Iterator[Any]:
    """Yield every scenario with a death before and after each of its points alone."""
    for scenario, points in POINTS.items():
        for point, when in product(points, BOTH):
            yield pytest.param(scenario, [(point, when)])


def label(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "before-" + ",".join(point for point, _ in value) if len(value) > 1 else f"{value[0][1]}-{value[0][0]}-alone"


def begin(cloud: FileCloud, worker: Worker, settings: Settings, kills: Iterable[Kill] = ()) -> Play:
    """Begin a scenario where no other has left a trace but its servers and rows."""
    cloud.heal()
    cloud.delay_addresses(0)
    cloud.place_together(0)
    Installation.objects.all().delete()
    installation.here()
    return Play(make_fleet(cloud), worker, settings, iter(kills))


def kills_of(deaths: Iterable[tuple[str, str]]) -> list[Kill]:
    return [Kill(point=point, when=when, countdown=1) for point, when in deaths]


def play_and_check(play: Play, scenario: str, deaths: int) -> None:
    """Play it to its end, in which `deaths` workers died."""
    SCENARIOS[scenario](play)
    assert play.deaths == deaths, f"only {play.deaths} workers died: what comes next wasn't passed"
    play.check()


@pytest.fixture(scope="module")
def worker(django_db_setup: None, database_engine: str) -> Iterator[Worker]:
    worker = Worker(database_url())
    yield worker
    worker.close()


@pytest.mark.parametrize(("scenario", "kills"), list(deaths()), ids=label)
def test_a_worker_killed_here_leaves_a_pair_or_nothing(
    db: None, cloud: FileCloud, worker: Worker, settings: Settings, scenario: str, kills: list[tuple[str, str]]
) -> None:
    play_and_check(begin(cloud, worker, settings, kills_of(kills)), scenario, len(kills))


@pytest.mark.full
@pytest.mark.on_postgresql
@pytest.mark.parametrize(("scenario", "kills"), list(lone_deaths()), ids=label)
def test_a_worker_killed_here_alone_leaves_a_pair_or_nothing(
    db: None, cloud: FileCloud, worker: Worker, settings: Settings, scenario: str, kills: list[tuple[str, str]]
) -> None:
    play_and_check(begin(cloud, worker, settings, kills_of(kills)), scenario, len(kills))


@pytest.mark.timeout(900)
def test_the_list_is_complete(db: None, cloud: FileCloud, worker: Worker, settings: Settings) -> None:
    missing, stale = {}, {}
    sites: set[crash_sites.Site] = set()
    for name, scenario in SCENARIOS.items():
        play = begin(cloud, worker, settings)
        scenario(play)
        play.check()
        assert len(play.errors) == 2 * (name == "bug"), play.errors
        missing[name] = sorted(play.points - LISTED)
        stale[name] = sorted(set(POINTS[name]) - play.points)
        sites |= play.sites
    assert not any(missing.values()), f"add these to POINTS, so that a worker is killed there: {missing}"
    assert not any(stale.values()), f"these aren't passed any more, take them out of POINTS: {stale}"
    unreached = [place for place in crash_sites.all_places() if not place.reached(sites)]
    assert not unreached, "no scenario comes here: " + "; ".join(map(str, unreached))


def test_every_act_has_a_point() -> None:
    acts = {act.name.lower() for act in Act} - {"wait", "settled"}
    assert acts <= {point.partition(":")[0] for point in LISTED}


@pytest.mark.full
@pytest.mark.timeout(1_200)
def test_workers_killed_at_random_leave_a_pair_or_nothing(
    db: None, cloud: FileCloud, worker: Worker, settings: Settings, seed: int
) -> None:
    for number in range(seed, seed + RANDOM_RUNS):
        dice = random.Random(number)  # noqa: S311 - only to be repeatable
        name = dice.choice(sorted(SCENARIOS))
        print(f"SEED={number}: {name}")  # noqa: T201 - a failure shows it
        kills = [Kill(point="*", when=dice.choice(BOTH), countdown=dice.randint(1, 15)) for _ in range(MAX_DEATHS)]
        play = begin(cloud, worker, settings, kills)
        SCENARIOS[name](play)
        play.check()
