"""A worker is killed by SIGKILL before and after every commit, provider call and message of the control plane.

`POINTS` lists them. The list can't rot: a point that a scenario passes and that isn't listed fails a test, as does a
listed one that isn't passed, and a line of the code that commits or calls and that no scenario reaches.
"""

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from egress.control import naming
from egress.control.plan import Act

from . import crash_sites
from .cloud import BUG, FileCloud
from .crash_worker import Worker
from .fleet import make_fleet
from .play import MAX_DEATHS, Kill, Play
from .processes import database_url

#: Of the long form.
RANDOM_RUNS = 60

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


# --- scenarios: each is killed once at each of its points, and must come to the same end ------------------------------


def enable(play: Play) -> None:
    play.fleet.cloud.delay_addresses(1)
    play.ask("egress_enable")
    play.until(play.is_active)


def enable_in_short_runs(play: Play) -> None:
    play.max_steps = 2
    play.ask("egress_enable")
    play.until(play.is_active)


def disable(play: Play) -> None:
    play.bring_up()
    play.ask("egress_disable")
    play.until(play.is_released)


def refused_at_last(play: Play) -> None:
    """The provider fails for once, then refuses for good; the customer retries."""
    play.fleet.cloud.fail("create_or_adopt", "provider_unavailable", "provider_no_capacity")
    play.prepare(lambda: play.ask("egress_enable"))
    play.until(play.is_settled)
    if play.is_stopped():
        play.ask("egress_retry")
    play.until(play.is_active)


def boot_fails(play: Play) -> None:
    """A gateway never reports; the customer retries, and it is replaced."""
    play.silent = {0}
    play.prepare(lambda: play.ask("egress_enable"))
    play.until(play.is_stopped, every_seconds=150)
    play.silent = set()
    play.prepare(lambda: play.ask("egress_retry"))
    play.until(play.is_active)


def server_disappears(play: Play) -> None:
    """A server is gone before it has addresses."""
    play.fleet.cloud.delay_addresses(100)
    play.prepare(lambda: play.ask("egress_enable"))
    play.until(lambda: len(play.servers()) == 2)
    play.fleet.cloud.delete(play.fleet.gateways()[0].server_id)
    play.sleep(70)
    play.until(play.is_stopped)
    play.fleet.cloud.delay_addresses(0)
    play.prepare(lambda: play.ask("egress_retry"))
    play.until(play.is_active)


def rebuild(play: Play) -> None:
    """The first attempt fails at the provider."""
    play.bring_up()
    play.ask("gateway_rebuild", play.fleet.gateways()[0])
    play.until(lambda: play.fleet.gateways()[0].rebuild_action_id)
    play.fleet.cloud.end_actions("errored")
    play.until(play.is_active)


def rebuild_called_off(play: Play) -> None:
    """The other gateway falls ill during the drain."""
    play.bring_up()
    play.prepare(lambda: play.ask("gateway_rebuild", play.fleet.gateways()[0]))
    play.fleet.report_gateway(play.fleet.gateways()[1], forwarding=False)
    play.until(lambda: play.statuses() == ["ready", "ready"])
    play.until(play.is_active)


def rebuild_refused(play: Play) -> None:
    """The provider refuses; an operator asks again."""
    play.bring_up()
    play.fleet.cloud.fail("rebuild", "provider_rejected")
    play.prepare(lambda: play.ask("gateway_rebuild", play.fleet.gateways()[0]))
    play.until(play.is_settled)
    if play.is_stopped():
        play.prepare(lambda: play.ask("gateway_rebuild", play.fleet.gateways()[0]))
    play.until(play.is_active)


def rebuild_takes_too_long(play: Play) -> None:
    play.bring_up()
    play.prepare(lambda: play.ask("gateway_rebuild", play.fleet.gateways()[0]))
    play.until(lambda: play.fleet.gateways()[0].rebuild_action_id)
    play.sleep(700)
    play.fleet.boot(play.fleet.gateways()[1])
    play.until(play.is_settled)
    if play.is_stopped():
        play.prepare(lambda: play.ask("gateway_rebuild", play.fleet.gateways()[0]))
    play.until(play.is_active)


def bug(play: Play) -> None:
    """The provider's adapter raises what it must not."""
    play.fleet.cloud.fail("create_or_adopt", BUG)
    play.prepare(lambda: play.ask("egress_enable"))
    play.until(play.is_active)


def duplicate_lands(play: Play) -> None:
    """A creation that was given up lands after all."""
    play.bring_up()
    play.fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(play.fleet.gateways()[0].pk))
    for _ in range(3):
        play.tidy()
    play.until(play.is_active)


SCENARIOS: dict[str, Callable[[Play], None]] = {
    scenario.__name__: scenario
    for scenario in (
        enable,
        enable_in_short_runs,
        disable,
        refused_at_last,
        boot_fails,
        server_disappears,
        rebuild,
        rebuild_called_off,
        rebuild_refused,
        rebuild_takes_too_long,
        bug,
        duplicate_lands,
    )
}

#: Every point, with the scenario in which it kills.
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
    "refused_at_last": (
        "create:commit-_after_provider_error",
        "egress_retry:commit-egress_retry",
        "egress_retry:send",
    ),
    "boot_fails": ("fail_boot:commit-_fail_gateway", "add_gateway:commit-_add_gateway"),
    "server_disappears": ("poll:commit-_fail_gateway",),
    "rebuild": (
        "gateway_rebuild:commit-gateway_rebuild",
        "gateway_rebuild:send",
        "announce:commit-_announce",
        "begin_rebuild:commit-_move",
        "rebuild:commit-renew",
        "rebuild:rebuild",
        "rebuild:commit-_rebuild",
        "check_rebuild:action_status",
        "check_rebuild:commit-_check_rebuild",
        "check_rebuild:commit-_after_provider_error",
        "check_rebuild:commit-_move",
    ),
    "rebuild_called_off": ("resume:commit-_move",),
    "rebuild_refused": ("rebuild:commit-_after_provider_error",),
    "rebuild_takes_too_long": ("fail_rebuild:commit-_move",),
    "bug": ("reconcile:commit-_postpone_after_crash",),
    "duplicate_lands": (
        "delete_duplicates:list_by_tag",
        "delete_duplicates:delete",
        "delete_duplicates:commit-delete_duplicates",
    ),
}
LISTED = {point for points in POINTS.values() for point in points}


@pytest.fixture(scope="module")
def worker(django_db_setup: None) -> Iterator[Worker]:
    worker = Worker(database_url())
    yield worker
    worker.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("scenario", "point"), [(name, point) for name in POINTS for point in POINTS[name]])
def test_a_worker_killed_here_leaves_a_pair_or_nothing(
    db: None, cloud: FileCloud, worker: Worker, settings: Settings, scenario: str, point: str, when: str
) -> None:
    play = Play(make_fleet(cloud), worker, settings, iter([Kill(point=point, when=when, countdown=1)]))
    SCENARIOS[scenario](play)
    assert play.deaths == 1, f"{point} wasn't passed"
    play.check()


def test_the_list_is_complete(db: None, cloud: FileCloud, worker: Worker, settings: Settings) -> None:
    missing, stale, sites = {}, {}, set()
    for name, scenario in SCENARIOS.items():
        cloud.delay_addresses(0)
        play = Play(make_fleet(cloud), worker, settings)
        scenario(play)
        play.check()
        assert len(play.errors) == (scenario is bug), play.errors
        points = {point for point, _ in play.passed}
        missing[name] = sorted(points - LISTED)
        stale[name] = sorted(set(POINTS[name]) - points)
        sites |= {tuple(site) for _, stack in play.passed for site in stack}
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
    db: None, cloud: FileCloud, worker: Worker, settings: Settings
) -> None:
    first = int(os.environ.get("CRASH_SEED", time.time_ns() % 1_000_000))
    for seed in range(first, first + RANDOM_RUNS):
        dice = random.Random(seed)  # noqa: S311 - only to be repeatable
        name = dice.choice(sorted(SCENARIOS))
        print(f"CRASH_SEED={seed}: {name}")  # noqa: T201 - a failure shows it
        cloud.delay_addresses(0)
        cloud.heal()
        whens = ("before", "after")
        kills = [Kill(point="*", when=dice.choice(whens), countdown=dice.randint(1, 15)) for _ in range(MAX_DEATHS)]
        play = Play(make_fleet(cloud), worker, settings, iter(kills))
        SCENARIOS[name](play)
        play.check()
