"""What is played while workers are killed, in which each scenario must come to the same end as without."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

from egress.control import clock, distribution, installation, naming
from egress.control.models import Assignment, Event, Placement, RouteChange
from egress.control.models_installation import Installation, StrayServer
from egress.control.models_repair import ClusterRepair
from egress.control.reconcile.steps import MAX_MOVES

from .cloud import BUG, IGNORED, IMAGES
from .play import MAX_DEATHS, Play


def enable(play: Play) -> None:
    play.fleet.cloud.delay_addresses(1)
    play.enable()
    play.until(play.is_active)


def enable_in_short_runs(play: Play) -> None:
    play.max_steps = 2
    play.enable()
    play.until(play.is_active)


def disable(play: Play) -> None:
    play.bring_up()
    play.disable()
    play.until(play.is_released)


def servers_are_not_deleted(play: Play) -> None:
    """The provider accepts deletions and doesn't carry them out: the customer is let go, and they are tried on."""
    play.bring_up()
    play.fleet.cloud.fail("delete", IGNORED, times=1_000)
    play.disable()
    play.until(lambda: play.statuses() == ["deleting", "deleting"])
    play.sleep(play.settings.EGRESS_DELETION_STUCK_SECONDS)
    play.until(play.is_released)
    assert len(play.servers()) == 2
    play.fleet.cloud.heal()
    play.sleep(300)
    play.until(lambda: not play.servers() and not play.fleet.gateways())


def refused_at_last(play: Play) -> None:
    """The provider fails for once, then refuses for good; the customer retries."""
    play.fleet.cloud.fail("create_or_adopt", "provider_unavailable", "provider_no_capacity")
    play.prepare(play.enable)
    play.until(play.is_settled)
    if play.is_stopped():
        play.retry()
    play.until(play.is_active)


def boot_fails(play: Play) -> None:
    """A gateway never reports; the customer retries, and it is replaced."""
    play.silent = {0}
    play.prepare(play.enable)
    play.until(play.is_stopped, every_seconds=150)
    play.silent = set()
    play.prepare(play.retry)
    play.until(play.is_active)


def server_disappears(play: Play) -> None:
    """A server is gone before it has addresses."""
    play.fleet.cloud.delay_addresses(100)
    play.prepare(play.enable)
    play.until(lambda: len(play.servers()) == 2)
    play.fleet.cloud.delete(play.fleet.gateways()[0].server_id)
    play.sleep(70)
    play.until(play.is_stopped)
    play.fleet.cloud.delay_addresses(0)
    play.prepare(play.retry)
    play.until(play.is_active)


def outage_is_chosen_for(play: Play) -> None:
    """The owner of an active pair chooses what becomes of traffic in an outage; nodes are told."""
    play.bring_up()
    play.ask("services.outage_choose", app=play.fleet.app, on_outage="shared")
    play.until(lambda: distribution.is_announced(play.fleet.assignment))
    play.until(play.is_active)
    assert RouteChange.objects.get(cluster=play.fleet.cluster).route["on_outage"] == "shared"


def rebuild(play: Play) -> None:
    """The first attempt fails at the provider."""
    play.bring_up()
    play.rebuild()
    play.until(lambda: play.fleet.gateways()[0].action_id)
    play.fleet.cloud.end_actions("errored")
    play.until(play.is_active)


def reboot(play: Play) -> None:
    play.bring_up()
    play.maintain("reboot")
    play.until(lambda: play.fleet.gateways()[0].maintained)
    play.until(play.is_active)


def power_cycle(play: Play) -> None:
    play.bring_up()
    play.maintain("power_cycle")
    play.until(lambda: play.fleet.gateways()[0].maintained)
    play.until(play.is_active)


def drained_and_taken_back(play: Play) -> None:
    play.bring_up()
    play.ask("maintenance.gateway_drain", gateway=play.fleet.gateways()[0])
    play.until(lambda: play.told() == ["draining", "active"])
    play.ask("maintenance.gateway_undrain", gateway=play.fleet.gateways()[0])
    play.until(play.is_active)


def drained_then_rebooted(play: Play) -> None:
    play.bring_up()
    play.prepare(lambda: play.ask("maintenance.gateway_drain", gateway=play.fleet.gateways()[0]))
    play.maintain("reboot")
    play.until(lambda: play.fleet.gateways()[0].maintained)
    play.until(play.is_active)


def roll(play: Play) -> None:
    """Both gateways are rebuilt from another image; an operator pauses in between, and the provider fails for once."""
    play.bring_up()
    play.fleet.cloud.fail("image_regions", "provider_unavailable")
    play.ask("rollouts.rollout_start", cluster=play.fleet.cluster, kind="rebuild", image=IMAGES[-1])
    play.until(lambda: play.items("running"))
    play.ask("rollouts.rollout_pause", rollout=play.rollout())
    play.until(lambda: play.items("done") == 1)
    play.ask("rollouts.rollout_resume", rollout=play.rollout())
    play.until(lambda: play.items("done") == 2, every_seconds=20)
    play.until(lambda: play.rollout().status == "done")
    assert {gateway.server_id for gateway in play.fleet.gateways()} <= set(play.fleet.cloud.rebuilt())
    play.until(play.is_active)


def roll_aborted(play: Play) -> None:
    """While a gateway drains for it."""
    play.bring_up()
    play.prepare(lambda: play.ask("rollouts.rollout_start", cluster=play.fleet.cluster, kind="reboot"))
    carried = {str(gateway.pk): 1 for gateway in play.fleet.gateways()}
    play.flows = carried
    play.until(lambda: play.statuses() == ["draining", "ready"])
    play.ask("rollouts.rollout_abort", rollout=play.rollout())
    play.flows = {}
    play.until(play.is_active)
    assert not any(gateway.maintained for gateway in play.fleet.gateways())


def roll_refused(play: Play) -> None:
    """Nobody has the image."""
    play.bring_up()
    play.prepare(lambda: play.ask("rollouts.rollout_start", cluster=play.fleet.cluster, kind="rebuild", image="none"))
    play.until(lambda: play.rollout().status == "refused")
    play.until(play.is_active)


def roll_stops(play: Play) -> None:
    """The provider refuses; an operator mends the gateway, and lets it go on."""
    play.bring_up()
    play.fleet.cloud.fail("reboot", "provider_rejected", times=2)
    play.prepare(lambda: play.ask("rollouts.rollout_start", cluster=play.fleet.cluster, kind="reboot"))
    play.until(lambda: play.rollout().status == "stopped")
    play.fleet.cloud.heal()
    play.prepare(play.rebuild)
    play.until(play.is_active)
    play.prepare(lambda: play.ask("rollouts.rollout_resume", rollout=play.rollout()))
    play.until(lambda: play.rollout().status == "done", every_seconds=20)
    play.until(play.is_active)


def rebuild_called_off(play: Play) -> None:
    """The other gateway falls ill during the drain."""
    play.bring_up()
    play.prepare(play.rebuild)
    play.fleet.report_gateway(play.fleet.gateways()[1], forwarding=False)
    play.until(lambda: play.statuses() == ["ready", "ready"])
    play.until(play.is_active)


def rebuild_refused(play: Play) -> None:
    """The provider refuses; an operator asks again."""
    play.bring_up()
    play.fleet.cloud.fail("rebuild", "provider_rejected", times=2)
    play.prepare(play.rebuild)
    play.until(play.is_settled)
    play.fleet.cloud.heal()
    if play.is_stopped():
        play.prepare(play.rebuild)
    play.until(play.is_active)


def rebuild_finds_no_server(play: Play) -> None:
    """Its address is gone with it; the customer disables."""
    play.bring_up()
    play.fleet.cloud.delete(play.fleet.gateways()[0].server_id)
    play.fleet.cloud.fail("rebuild", "provider_not_found", times=99)
    play.prepare(play.rebuild)
    play.until(play.is_stopped, every_seconds=60)
    play.prepare(play.disable)
    play.until(play.is_released)


def rebuild_takes_too_long(play: Play) -> None:
    play.bring_up()
    play.prepare(play.rebuild)
    play.until(lambda: play.fleet.gateways()[0].action_id)
    play.sleep(700)
    play.fleet.boot(play.fleet.gateways()[1])
    play.until(play.is_settled)
    if play.is_stopped():
        play.prepare(play.rebuild)
    play.until(play.is_active)


def bug(play: Play) -> None:
    """The provider's adapter raises what it must not."""
    play.fleet.cloud.fail("create_or_adopt", BUG, times=2)
    play.prepare(play.enable)
    play.until(play.is_active)


# --- the pair's places ------------------------------------------------------------------------------------------------


def one_host(play: Play) -> None:
    """Both servers land on one host: the second is replaced, once."""
    play.fleet.cloud.place_together(2)
    play.prepare(play.enable)
    play.until(play.is_active)
    assert (play.fleet.assignment.placement, play.fleet.assignment.moves) == (Placement.APART, 1)


def one_host_for_ever(play: Play) -> None:
    """Whatever replaces the second lands there, too."""
    play.fleet.cloud.place_together(99)
    play.prepare(play.enable)
    play.until(play.is_active)
    assert (play.fleet.assignment.placement, play.fleet.assignment.moves) == (Placement.TOGETHER, MAX_MOVES)
    assert play.fleet.assignment.events.filter(subject="assignment.placement").count() == 1


def places_unknown_for_a_while(play: Play) -> None:
    play.fleet.cloud.fail("neighbours", "provider_unavailable", times=2)
    play.prepare(play.enable)
    play.until(play.is_active)
    assert play.fleet.assignment.placement == Placement.APART


def places_never_known(play: Play) -> None:
    play.fleet.cloud.fail("neighbours", "provider_access_refused", times=2)
    play.prepare(play.enable)
    play.until(play.is_active)
    assert play.fleet.assignment.placement == Placement.UNKNOWN
    assert play.fleet.assignment.events.filter(subject="assignment.placement").count() == 1


# --- repair -----------------------------------------------------------------------------------------------------------


def gateway_dies(play: Play) -> None:
    """A power cycle brings it back."""
    play.bring_up()
    play.fleet.dead = {play.fleet.gateways()[0].server_id}
    play.watch_a_dead_one()
    play.until(lambda: play.fleet.cloud.done("power_cycle"))
    play.fleet.dead = set()
    play.until(play.is_active)
    assert Event.objects.filter(subject="gateway.repair", gateway=play.fleet.gateways()[0]).count() == 1


def gateway_is_off(play: Play) -> None:
    """The provider says so as well: it is switched on."""
    play.bring_up()
    play.fleet.dead = {play.fleet.gateways()[0].server_id}
    play.fleet.cloud.cut_power(play.fleet.gateways()[0].server_id)
    play.tidy()
    play.watch_a_dead_one()
    play.until(lambda: play.fleet.cloud.done("power_on"))
    play.fleet.dead = set()
    play.until(play.is_active)


def lose_one(play: Play) -> None:
    """Let the provider lose the first gateway's server, and tidying find out."""
    play.bring_up()
    server = play.fleet.gateways()[0].server_id
    play.fleet.dead = {server}
    play.fleet.cloud.delete(server)
    play.sleep(100)
    play.agents()
    play.tidy()


def lost_gateway_is_replaced(play: Play) -> None:
    play.prepare(lambda: lose_one(play))
    play.watch()
    play.until(play.is_active)
    assert Event.objects.filter(subject="gateway.replaced", gateway=play.fleet.gateways()[0]).count() == 1


def replacement_does_not_boot(play: Play) -> None:
    """Its first server never reports; the second does."""
    play.prepare(lambda: lose_one(play))
    play.fleet.dead |= {str(int(max(play.fleet.cloud.servers(), key=lambda one: int(one.id)).id) + 1)}
    play.prepare(play.watch)
    play.until(lambda: not play.fleet.gateways()[0].maintenance, every_seconds=100)
    play.sleep(100)
    play.agents()
    play.watch()
    play.until(play.is_active)


def replacement_lands_on_the_peers_host(play: Play) -> None:
    play.prepare(lambda: lose_one(play))
    play.fleet.cloud.place_together(1)
    play.prepare(play.watch)
    play.until(play.is_active)
    assert (play.fleet.assignment.placement, play.fleet.assignment.moves) == (Placement.APART, 1)


def replacement_stands_nobody_knows_where(play: Play) -> None:
    play.prepare(lambda: lose_one(play))
    play.fleet.cloud.fail("neighbours", "provider_access_refused", times=2)
    play.prepare(play.watch)
    play.until(play.is_active)
    assert play.fleet.assignment.placement == Placement.UNKNOWN


def operator_replaces(play: Play) -> None:
    """A gateway that works is drained first."""
    play.bring_up()
    old = play.fleet.gateways()[0]
    play.ask("repair.replacement.gateway_replace", gateway=old)
    play.until(play.is_active)
    assert play.fleet.gateways()[0].server_id != old.server_id


def repair_stops(play: Play) -> None:
    """Too many are bad; an operator says that it goes on."""
    play.settings.EGRESS_REPAIR_BAD_MINIMUM, limit = 0, play.settings.EGRESS_REPAIR_BAD_MINIMUM
    play.bring_up()
    play.fleet.dead = {play.fleet.gateways()[0].server_id}
    play.watch_a_dead_one()
    assert not Event.objects.filter(subject="gateway.repair", gateway=play.fleet.gateways()[0]).exists()
    row = ClusterRepair.objects.get(cluster=play.fleet.cluster)
    play.ask("repair.circuit.go_on", row=row)
    play.sleep(20)
    play.agents()
    play.prepare(play.watch)
    play.settings.EGRESS_REPAIR_BAD_MINIMUM = limit
    play.until(lambda: play.fleet.cloud.done("power_cycle"))
    play.fleet.dead = set()
    play.until(play.is_active)


def repair_is_exhausted(play: Play) -> None:
    """No step is allowed."""
    names = ("EGRESS_REPAIR_POWER_CYCLES", "EGRESS_REPAIR_REBUILDS", "EGRESS_REPAIR_REPLACEMENTS")
    before = {name: getattr(play.settings, name) for name in names}
    for name in names:
        setattr(play.settings, name, 0)
    play.bring_up()
    play.fleet.dead = {play.fleet.gateways()[0].server_id}
    play.watch_a_dead_one()
    play.watch()
    told = Event.objects.filter(subject="gateway.repair", gateway=play.fleet.gateways()[0])
    assert [event.new for event in told] == ["exhausted"]
    for name in names:
        setattr(play.settings, name, before[name])
    play.fleet.dead = set()
    play.agents()
    play.until(play.is_active)


def all_fall_silent(play: Play) -> None:
    """It was rather us."""
    play.bring_up()
    play.sleep(100)
    play.watch()
    if not play.deaths:
        # While another worker came, they reported.
        assert {gateway.health for gateway in play.fleet.gateways()} == {"unhealthy"}
    play.agents()
    play.until(play.is_active)


def worker_was_away(play: Play) -> None:
    play.bring_up()
    Installation.objects.update(watched_at=clock.now())
    play.sleep(100)
    for _ in range(1 + MAX_DEATHS):
        if not play.watch_once():
            break
    # A worker that dies leaves a gap as well.
    assert Event.objects.filter(subject="control.away", at__gt=clock.now() - timedelta(seconds=90)).exists()
    assert {gateway.health for gateway in play.fleet.gateways()} == {"healthy"}
    play.agents()
    play.until(play.is_active)


# --- tidying up, and standing still -----------------------------------------------------------------------------------


def duplicate_lands(play: Play) -> None:
    """A creation that was given up lands after all."""
    play.bring_up()
    play.fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(play.fleet.gateways()[0].pk))
    play.tidy()
    play.until(play.is_active)


def breaker_trips(play: Play) -> None:
    """What is too much is decided by an operator."""
    play.bring_up()
    play.settings.EGRESS_DELETION_LIMIT, limit = 0, play.settings.EGRESS_DELETION_LIMIT
    play.fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(play.fleet.gateways()[0].pk))
    for _ in range(2):
        play.tidy()
        assert len(play.servers()) == 3
    tripped = Event.objects.filter(subject="provider.breaker", new="tripped")
    assert tripped.filter(at__gte=installation.here().counted_from).count() == 1
    play.settings.EGRESS_DELETION_LIMIT = limit
    play.ask("inventory.breaker.reset")
    play.tidy()
    play.until(play.is_active)


def stray_is_deleted(play: Play) -> None:
    """A server that no row knows gets its address, and is deleted by an operator's second order."""
    play.bring_up()
    play.fleet.cloud.delay_addresses(1)
    server = play.fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(uuid4()))
    play.tidy()
    play.fleet.cloud.get(server)
    play.tidy()
    stray = StrayServer.objects.get(server_id=server)
    assert stray.public_address
    for order in ("deletion_order", "deletion_withdraw", "deletion_order"):
        play.ask(f"inventory.quarantine.{order}", stray=stray)
        play.tidy()
        assert server in {one.id for one in play.fleet.cloud.servers()}
    StrayServer.objects.update(found_at=clock.now() - timedelta(hours=play.settings.EGRESS_QUARANTINE_HOURS))
    play.tidy()
    play.tidy()
    assert server not in {one.id for one in play.fleet.cloud.servers()}
    assert not StrayServer.objects.exists()
    told = Event.objects.filter(subject="provider.stray", old=server).order_by("pk").values_list("new", flat=True)
    orders = ["deletion ordered", "deletion withdrawn", "deletion ordered"]
    assert list(told) == ["quarantined", *orders, "deleting", "released"]
    play.until(play.is_active)


def pair_is_taken_back(play: Play) -> None:
    """A restored database has forgotten a pair, and an operator gives it back to its app."""
    play.bring_up()
    before = {server.id for server in play.servers()}
    forget(play.fleet.assignment)
    play.tidy()
    play.ask("inventory.adoption.pair_adopt", play.fleet.app.assignments.exists, app=play.fleet.app)
    play.until(play.is_active)
    assert {server.id for server in play.servers()} == before


def forget(assignment: Assignment) -> None:
    assignment.events.all().delete()
    assignment.gateways.all().delete()
    assignment.delete()


def server_in_use_is_lost(play: Play) -> None:
    """Nothing replaces its address; the customer disables."""
    play.bring_up()
    play.fleet.cloud.delete(play.fleet.gateways()[0].server_id)
    play.silent = {0}
    play.sleep(100)
    play.agents()
    play.tidy()
    play.until(play.is_stopped)
    assert Event.objects.filter(subject="provider.lost", gateway=play.fleet.gateways()[0]).count() == 1
    play.prepare(play.disable)
    play.until(play.is_released)


def node_is_ahead(play: Play) -> None:
    """A node knows more than the database, which was restored: all stands still until an operator says so."""
    play.bring_up()
    play.acknowledge(10_000)
    assert installation.why_still()
    assert Event.objects.filter(subject="node.ahead", node=play.fleet.nodes[0]).count() == 1
    play.ask("installation.resume")
    play.until(play.is_active)


def operator_holds(play: Play) -> None:
    play.bring_up()
    play.ask("installation.hold", reason="a backup was restored")
    play.prepare(lambda: play.ask("installation.resume"))
    play.until(play.is_active)


def first_start(play: Play) -> None:
    """The database is new."""
    Installation.objects.all().delete()
    play.prepare(play.enable)
    play.until(play.is_active)


SCENARIOS: dict[str, Callable[[Play], None]] = {
    scenario.__name__: scenario
    for scenario in (
        enable,
        enable_in_short_runs,
        disable,
        servers_are_not_deleted,
        refused_at_last,
        boot_fails,
        server_disappears,
        outage_is_chosen_for,
        rebuild,
        reboot,
        power_cycle,
        drained_and_taken_back,
        drained_then_rebooted,
        roll,
        roll_aborted,
        roll_refused,
        roll_stops,
        rebuild_called_off,
        rebuild_refused,
        rebuild_finds_no_server,
        rebuild_takes_too_long,
        bug,
        one_host,
        one_host_for_ever,
        places_unknown_for_a_while,
        places_never_known,
        gateway_dies,
        gateway_is_off,
        lost_gateway_is_replaced,
        replacement_does_not_boot,
        replacement_lands_on_the_peers_host,
        replacement_stands_nobody_knows_where,
        operator_replaces,
        repair_stops,
        repair_is_exhausted,
        all_fall_silent,
        worker_was_away,
        duplicate_lands,
        breaker_trips,
        stray_is_deleted,
        pair_is_taken_back,
        server_in_use_is_lost,
        node_is_ahead,
        operator_holds,
        first_start,
    )
}
