"""A rollout brings all gateways of a cluster through their maintenance: a few pairs at once, never both of a pair."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from egress.control import installation, tasks
from egress.control.errors import GatewayBusy, RolloutNotSo, RolloutRefused, RolloutUnderWay
from egress.control.maintenance import gateway_drain, gateway_maintain, gateway_undrain
from egress.control.models import AssignmentStatus, Cluster, Event, Gateway
from egress.control.models_rollouts import ItemState, Maintenance, Rollout, RolloutItem, RolloutStatus
from egress.control.rollout_progress import progress_of
from egress.control.rollouts import rollout_abort, rollout_pause, rollout_resume, rollout_start
from egress.control.services import egress_disable
from portal.accounts.models import User
from tests.factories import make_user

from .cloud import FileCloud
from .pairs import Pairs, make_pairs

pytestmark = [pytest.mark.django_db, pytest.mark.costly]

NEW_IMAGE = "ubuntu-26-04-x64"


@pytest.fixture
def pairs(cloud: FileCloud, settings: Settings) -> Pairs:
    return make_pairs(cloud, settings, 2)


def start(pairs: Pairs, **wanted: Any) -> Rollout:
    rollout = rollout_start(cluster=pairs.fleets[0].cluster, actor=pairs.fleets[0].user, **{"kind": "reboot"} | wanted)
    tasks.roll()
    pairs.work()
    rollout.refresh_from_db()
    return rollout


def finish(pairs: Pairs, rollout: Rollout, watch: Callable[[], object] = lambda: None, rounds: int = 40) -> None:
    """Go on until the rollout is over or stops by itself."""
    for _ in range(rounds):
        watch()
        pairs.round()
        rollout.refresh_from_db()
        if rollout.status in {RolloutStatus.DONE, RolloutStatus.STOPPED}:
            return
    raise AssertionError(f"it never ends: {rollout}, {progress_of(rollout)}, {pairs.away()}")


def states(rollout: Rollout) -> list[str]:
    return list(rollout.items.values_list("state", flat=True))


@pytest.mark.parametrize(("kind", "batch"), [("reboot", 1), ("rebuild", 2)])
def test_every_gateway_has_its_turn_once_and_never_both_of_a_pair(pairs: Pairs, kind: str, batch: int) -> None:
    seen: list[int] = []

    def watch() -> None:
        away = pairs.away()
        seen.append(len(away))
        assert len(away) <= batch
        assert len({name.rpartition(" ")[0] for name in away}) == len(away), away

    before = [(gateway.server_id, gateway.public_address) for gateway in pairs.gateways()]
    rollout = start(pairs, kind=kind, batch=batch)
    finish(pairs, rollout, watch)
    assert max(seen) == batch
    assert rollout.status == RolloutStatus.DONE
    assert rollout.ended_at is not None
    assert set(states(rollout)) == {ItemState.DONE}
    assert sorted(pairs.cloud.done(kind)) == sorted(server for server, _ in before)
    assert [(gateway.server_id, gateway.public_address) for gateway in pairs.gateways()] == before
    assert set(pairs.statuses()) == {"ready"}


def test_a_pair_is_ended_before_another_begins(pairs: Pairs) -> None:
    rollout = start(pairs)
    order: list[str] = []

    def watch() -> None:
        order.extend(name for name in pairs.away() if name not in order)

    finish(pairs, rollout, watch)
    apps = [name.rpartition(" ")[0] for name in order]
    assert apps == sorted(apps, key=apps.index)
    assert len(apps) == 4


@pytest.mark.parametrize("batch", [1, 3])
def test_the_peer_rests_until_nodes_prefer_it_again(pairs: Pairs, batch: int) -> None:
    rollout = start(pairs, batch=batch)
    first = rollout.items.filter(state=ItemState.RUNNING)[0].gateway
    while not Gateway.objects.get(pk=first.pk).maintained:
        pairs.round()
    tasks.roll()
    if batch == 1:
        # The pair keeps its place: no other begins meanwhile.
        assert sorted(states(rollout)) == ["done", *["waiting"] * 3]
    peer = rollout.items.get(gateway__assignment=first.assignment_id, state=ItemState.WAITING)
    says = {line.item.pk: line.says for line in progress_of(rollout).lines}
    assert says[peer.pk] == "its peer is back for less than 30 s"
    pairs.settings.CLOCK_OFFSET_SECONDS += 31
    pairs.agents()
    tasks.roll()
    assert peer in rollout.items.filter(state=ItemState.RUNNING)


def test_a_pair_that_falls_ill_between_its_turns_gives_its_place_up(pairs: Pairs) -> None:
    rollout = start(pairs)
    first = rollout.items.get(state=ItemState.RUNNING).gateway
    while not Gateway.objects.get(pk=first.pk).maintained:
        pairs.round()
    Gateway.objects.filter(pk=first.pk).update(forwarding=False)
    tasks.roll()
    assert rollout.items.get(state=ItemState.RUNNING).gateway.assignment_id != first.assignment_id


def test_a_rebuild_brings_a_new_image_once_the_provider_has_it(pairs: Pairs) -> None:
    rollout = rollout_start(
        cluster=pairs.fleets[0].cluster, actor=pairs.fleets[0].user, kind="rebuild", image=NEW_IMAGE
    )
    pairs.cloud.fail("image_regions", "provider_unavailable")
    pairs.work()
    rollout.refresh_from_db()
    assert (rollout.status, "made to fail" in rollout.reason) == (RolloutStatus.CHECKING, True)
    assert Cluster.objects.get().gateway_image != NEW_IMAGE
    assert pairs.away() == []
    pairs.work()
    rollout.refresh_from_db()
    assert (rollout.status, rollout.reason, Cluster.objects.get().gateway_image) == ("running", "", NEW_IMAGE)
    finish(pairs, rollout)
    assert pairs.cloud.images() == {NEW_IMAGE}
    changed = Event.objects.get(subject="cluster.change")
    assert (NEW_IMAGE in changed.reason, changed.actor) == (True, pairs.fleets[0].user)


@pytest.mark.parametrize(
    ("region", "image", "reason"),
    [
        ("lab1", "ubuntu-99", "has no image ubuntu-99"),
        ("moon1", NEW_IMAGE, f"doesn't offer the image {NEW_IMAGE} in moon1"),
    ],
)
def test_an_unknown_image_is_refused_and_nothing_changes(pairs: Pairs, region: str, image: str, reason: str) -> None:
    Cluster.objects.update(region=region)
    rollout = start(pairs, kind="rebuild", image=image)
    assert rollout.status == RolloutStatus.REFUSED
    assert reason in rollout.reason
    assert Cluster.objects.get().gateway_image == "ubuntu-24-04-x64"
    pairs.round()
    assert pairs.away() == []
    assert set(states(rollout)) == {ItemState.WAITING}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"batch": 0}, "batch"),
        ({"batch": 51}, "batch"),
        ({"max_failures": 0}, "max_failures"),
        ({"kind": "explode"}, "kind"),
        ({"kind": "hold"}, "kind"),
        ({"kind": "reboot", "image": NEW_IMAGE}, "Only a rebuild changes the image"),
        ({"kind": "rebuild", "image": "../../etc"}, "can't be an image"),
        ({"kind": "rebuild", "image": "x" * 101}, "can't be an image"),
    ],
)
def test_what_cannot_be_is_refused_at_once(pairs: Pairs, wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(RolloutRefused, match=reason):
        start(pairs, **wanted)
    assert not Rollout.objects.exists()


def test_only_one_is_under_way_in_a_cluster(pairs: Pairs) -> None:
    rollout = start(pairs)
    with pytest.raises(RolloutUnderWay, match=f"Rollout {rollout.pk} "):
        start(pairs)
    rollout_abort(rollout=rollout, actor=None)
    start(pairs)
    assert Rollout.objects.count() == 2


def test_a_pause_lets_what_has_begun_end_and_begins_nothing(pairs: Pairs) -> None:
    rollout = start(pairs)
    (away,) = pairs.away()
    rollout_pause(rollout=rollout, actor=pairs.fleets[0].user)
    for _ in range(6):
        pairs.round()
    assert pairs.away() == []
    assert states(rollout).count(ItemState.DONE) == 1
    assert str(rollout.items.get(state=ItemState.DONE).gateway) == away
    with pytest.raises(RolloutNotSo, match=r"is paused: it can't become paused\. It can be resumed or aborted"):
        rollout_pause(rollout=rollout, actor=None)
    rollout_resume(rollout=rollout, actor=None)
    finish(pairs, rollout)
    assert set(states(rollout)) == {ItemState.DONE}


def test_an_abort_takes_back_what_only_drains_and_is_refused_a_second_time(pairs: Pairs) -> None:
    rollout = start(pairs, batch=2)
    first, second = rollout.items.filter(state=ItemState.RUNNING)
    Gateway.objects.filter(pk=second.gateway_id).update(provisioning_status="maintenance", action_id="")
    rollout_abort(rollout=rollout, actor=pairs.fleets[0].user)
    assert Gateway.objects.get(pk=first.gateway_id).provisioning_status == "ready"
    for _ in range(6):
        pairs.round()
    assert set(pairs.statuses()) == {"ready"}
    # What was begun came back; nobody else had a turn.
    assert pairs.cloud.done("reboot") == [second.gateway.server_id]
    assert sorted(states(rollout)) == ["done", *["waiting"] * 3]
    for again in (rollout_abort, rollout_pause, rollout_resume):
        with pytest.raises(RolloutNotSo, match=r"is aborted: .* It is over: start another one"):
            again(rollout=rollout, actor=None)
    told = Event.objects.filter(subject="rollout.status").order_by("pk").values_list("new", flat=True)
    assert list(told) == ["started", "running", "aborted"]


def fail_boots(pairs: Pairs, rollout: Rollout) -> None:
    """Let gateways that reboot stay silent until their time is over."""
    pairs.settings.EGRESS_BOOT_LIMIT_SECONDS = 60
    for _ in range(40):
        silent = frozenset(str(row) for row in pairs.gateways() if row.provisioning_status == "booting")
        pairs.round(silent=silent)
        rollout.refresh_from_db()
        if rollout.status == RolloutStatus.STOPPED:
            return
    raise AssertionError(f"it never stops: {progress_of(rollout)}")


def test_it_stops_by_itself_when_gateways_do_not_come_back_and_can_be_resumed(pairs: Pairs) -> None:
    rollout = start(pairs, max_failures=2)
    fail_boots(pairs, rollout)
    assert "2 gateways didn't come back" in rollout.reason
    assert pairs.statuses().count("error") == 2
    assert {name.rpartition(" ")[0] for name in pairs.away()} == {str(fleet.app) for fleet in pairs.fleets}
    failed = rollout.items.filter(state=ItemState.FAILED)
    assert all("didn't come back within" in item.note for item in failed)
    # Nothing else begins.
    pairs.round()
    assert len(pairs.away()) == 2
    pairs.settings.EGRESS_BOOT_LIMIT_SECONDS = 600
    for item in failed:
        gateway_maintain(gateway=item.gateway, kind=Maintenance.REBUILD, actor=None)
    for _ in range(5):
        pairs.round()
    assert pairs.away() == []
    rollout_resume(rollout=rollout, actor=None)
    finish(pairs, rollout)
    assert rollout.status == RolloutStatus.DONE
    assert set(states(rollout)) == {ItemState.DONE}


def test_a_failure_below_the_limit_leaves_its_pair_alone_and_the_others_go_on(pairs: Pairs) -> None:
    rollout = start(pairs, max_failures=3)
    item = rollout.items.get(state=ItemState.RUNNING)
    Gateway.objects.filter(pk=item.gateway_id).update(provisioning_status="error", maintenance="")
    for _ in range(12):
        pairs.round()
    assert sorted(states(rollout)) == [*["done"] * 2, "failed", "waiting"]
    (waiting,) = [line for line in progress_of(rollout).lines if line.state == ItemState.WAITING]
    assert waiting.says == "its peer is error"
    gateway_maintain(gateway=item.gateway, kind=Maintenance.REBUILD, actor=None)
    finish(pairs, rollout)
    assert (rollout.status, "1 gateway didn't come back" in rollout.reason) == (RolloutStatus.STOPPED, True)
    rollout_resume(rollout=rollout, actor=None)
    finish(pairs, rollout)
    assert set(states(rollout)) == {ItemState.DONE}


def test_degraded_pairs_hold_nobody_up_say_why_they_wait_and_have_their_turn_later(
    cloud: FileCloud, settings: Settings
) -> None:
    pairs = make_pairs(cloud, settings, 3)
    sick = [fleet.gateways()[0] for fleet in pairs.fleets[:2]]
    Gateway.objects.filter(pk__in=[row.pk for row in sick]).update(forwarding=False, detail="no way out")
    rollout = start(pairs)
    for _ in range(12):
        pairs.round(silent=frozenset(map(str, sick)))
    rollout.refresh_from_db()
    assert rollout.status == RolloutStatus.RUNNING
    says = {str(line.item.gateway): line.says for line in progress_of(rollout).lines if line.state == "waiting"}
    expected = {str(row): "it isn't healthy itself: repair comes first" for row in sick}
    expected |= {str(fleet.gateways()[1]): "its peer isn't healthy (no way out)" for fleet in pairs.fleets[:2]}
    assert says == expected
    assert progress_of(rollout).percent == 33
    finish(pairs, rollout)
    assert set(states(rollout)) == {ItemState.DONE}


def test_an_app_that_is_disabled_meanwhile_is_skipped(pairs: Pairs) -> None:
    rollout = start(pairs)
    begun = pairs.fleets[0]
    egress_disable(app=begun.app, actor=begun.user)
    finish(pairs, rollout)
    assert sorted(states(rollout)) == [*["done"] * 2, *["skipped"] * 2]
    assert rollout.status == RolloutStatus.DONE


def test_a_turn_that_was_called_off_comes_again(pairs: Pairs) -> None:
    rollout = start(pairs)
    item = rollout.items.get(state=ItemState.RUNNING)
    peer = item.gateway.assignment.gateways.exclude(pk=item.gateway_id).get()
    Gateway.objects.filter(pk=peer.pk).update(forwarding=False)
    pairs.fleets[0].step()
    tasks.roll()
    item.refresh_from_db()
    assert (item.state, "its peer fell ill" in item.note) == (ItemState.WAITING, True)
    finish(pairs, rollout)
    assert set(states(rollout)) == {ItemState.DONE}


def test_a_gateway_kept_out_of_use_stays_so(pairs: Pairs) -> None:
    kept = gateway_drain(gateway=pairs.fleets[0].gateways()[0], actor=None)
    rollout = start(pairs)
    for _ in range(12):
        pairs.round()
    assert Gateway.objects.get(pk=kept.pk).provisioning_status == "draining"
    assert [line.says for line in progress_of(rollout).lines if line.state == "waiting"] == [
        "it is kept out of use: undrain it",
        "its peer is draining",
    ]
    gateway_undrain(gateway=kept, actor=None)
    finish(pairs, rollout)
    assert set(states(rollout)) == {ItemState.DONE}


def test_a_look_twice_does_what_one_does(pairs: Pairs) -> None:
    rollout = start(pairs)
    for _ in range(4):
        tasks.roll()
        before = (list(RolloutItem.objects.values()), list(Gateway.objects.values()), Event.objects.count())
        tasks.roll()
        assert (list(RolloutItem.objects.values()), list(Gateway.objects.values()), Event.objects.count()) == before
        pairs.round()
    assert rollout.items.filter(state=ItemState.DONE).exists()


def test_while_all_stands_still_nothing_is_rolled(pairs: Pairs) -> None:
    installation.hold(reason="a backup was restored")
    rollout = start(pairs)
    assert (rollout.status, pairs.away()) == (RolloutStatus.CHECKING, [])


def test_what_a_rollout_does_can_not_be_mixed_with_something_else(pairs: Pairs) -> None:
    rollout = start(pairs)
    gateway = rollout.items.get(state=ItemState.RUNNING).gateway
    with pytest.raises(GatewayBusy, match="is draining for a reboot: wait until it is ready again"):
        gateway_maintain(gateway=gateway, kind=Maintenance.REBUILD, actor=None)
    with pytest.raises(GatewayBusy):
        gateway_drain(gateway=gateway, actor=None)


def test_a_cluster_without_gateways_is_done_at_once(cloud: FileCloud, settings: Settings) -> None:
    pairs = make_pairs(cloud, settings, 1)
    fleet = pairs.fleets[0]
    egress_disable(app=fleet.app, actor=fleet.user)
    for _ in range(4):
        pairs.round()
    assert fleet.assignment.status == AssignmentStatus.RELEASED
    rollout = start(pairs)
    tasks.roll()
    rollout.refresh_from_db()
    assert (rollout.status, progress_of(rollout).percent) == (RolloutStatus.DONE, 100)


# --- the command line and the admin ----------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    output = StringIO()
    call_command("rollout", *arguments, stdout=output)
    return output.getvalue()


def test_operators_roll_on_the_command_line(cloud: FileCloud, settings: Settings) -> None:
    pairs = make_pairs(cloud, settings, 1)
    cluster = pairs.fleets[0].cluster.name
    with pytest.raises(CommandError, match="no cluster nowhere"):
        command("start", "nowhere")
    with pytest.raises(CommandError, match="batch"):
        command("start", cluster, "--batch", "0")
    assert "checking; 2 waiting of 2 gateways" in command("start", cluster, "--kind", "reboot")
    number = str(Rollout.objects.get().pk)
    with pytest.raises(CommandError, match="isn't over"):
        command("start", cluster)
    pairs.work()
    assert "paused" in command("pause", number)
    assert "running" in command("resume", number)
    tasks.roll()
    shown = command("status", number)
    assert "A: running, finishes its connections" in shown
    assert "B: waiting, its peer is draining" in shown
    assert f"rollout {number}: reboot of {cluster} (running); 1 running, 1 waiting" in command("status")
    assert "aborted" in command("abort", number)
    with pytest.raises(CommandError, match="It is over: start another one"):
        command("abort", number)
    with pytest.raises(CommandError, match="no rollout 999"):
        command("status", "999")


@pytest.mark.parametrize(("end", "reason"), [("done", ""), ("stopped", "1 gateways"), ("refused", "no image")])
def test_a_command_that_waits_ends_as_the_rollout_does(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, end: str, reason: str
) -> None:
    def meanwhile(_: float) -> None:
        Rollout.objects.update(status=end, reason=reason)

    monkeypatch.setattr("egress.control.management.commands.rollout.sleep", meanwhile)
    arguments = ("start", pairs.fleets[0].cluster.name, "--wait", "60")
    if end == "done":
        assert "done; 4 waiting" in command(*arguments)
    else:
        with pytest.raises(CommandError, match=f"is {end}: {reason}"):
            command(*arguments)


def test_a_command_that_waited_long_enough_says_that_it_goes_on(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egress.control.management.commands.rollout.monotonic", iter([0.0, 61.0]).__next__)
    with pytest.raises(CommandError, match="isn't over after 60 s; it goes on"):
        command("start", pairs.fleets[0].cluster.name, "--wait", "60")


@pytest.fixture
def page(pairs: Pairs) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator@example.com", "a-long-password"))
    return client


ADD = "/admin/control/rollout/add/"


def test_an_operator_starts_watches_pauses_and_aborts_one_in_the_admin(page: Client, pairs: Pairs) -> None:
    assert page.get(ADD).status_code == 200
    form = {"cluster": pairs.fleets[0].cluster.pk, "kind": "reboot", "image": "", "batch": 1, "max_failures": 1}
    shown = page.post(ADD, form, follow=True)
    rollout = Rollout.objects.get()
    own = f"/admin/control/rollout/{rollout.pk}/change/"
    assert shown.redirect_chain == [(own, 302)]
    assert (rollout.created_by, rollout.items.count()) == (User.objects.get(email="operator@example.com"), 4)
    refused = page.post(ADD, form, follow=True).content.decode()
    assert "Nothing was started" in refused
    assert f"Rollout {rollout.pk} of" in refused
    assert page.post(ADD, {**form, "batch": 51}).status_code == 200
    tasks.roll()
    tasks.roll()
    watched = page.get(own)
    assert watched.headers["Refresh"] == "5"
    assert "0 % over: 1 running, 3 waiting of 4 gateways" in watched.content.decode()
    assert "finishes its connections" in watched.content.decode()
    assert "its peer is draining" in watched.content.decode()
    for verb, status in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
        url = reverse(f"admin:control_rollout_{verb}_this", args=[rollout.pk])
        page.get(url)
        rollout.refresh_from_db()
        assert rollout.status != status
        page.post(url, {"confirmed": "yes"})
        rollout.refresh_from_db()
        assert rollout.status == status
    again = page.post(reverse("admin:control_rollout_abort_this", args=[rollout.pk]), {"confirmed": "yes"}, follow=True)
    assert "It is over" in again.content.decode()
    assert "Refresh" not in page.get(own).headers
    assert page.get("/admin/control/rollout/", {"q": "lab"}).status_code == 200
    assert page.post(own, {"batch": 9}).status_code == 403


def test_a_rollout_that_stopped_is_on_the_start_page(page: Client, pairs: Pairs) -> None:
    rollout = start(pairs)
    Rollout.objects.update(status=RolloutStatus.STOPPED, reason="1 gateways didn't come back")
    shown = page.get("/admin/").content.decode()
    assert "Stopped by itself" in shown
    assert f"/admin/control/rollout/{rollout.pk}/change/" in shown


def test_who_may_only_look_starts_none(pairs: Pairs) -> None:
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_rollout"))
    client = Client()
    client.force_login(viewer)
    rollout = start(pairs)
    shown = client.get(f"/admin/control/rollout/{rollout.pk}/change/")
    assert shown.status_code == 200
    assert "/abort/" not in shown.content.decode()
    assert client.get(ADD).status_code == 403
    url = reverse("admin:control_rollout_abort_this", args=[rollout.pk])
    assert client.post(url, {"confirmed": "yes"}).status_code == 403
