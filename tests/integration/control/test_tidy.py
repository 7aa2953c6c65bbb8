"""What tidying up finds: duplicates go, unknown servers are kept, lost ones are told, deletions are counted."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from egress.control import clock, naming
from egress.control.errors import NotAPair, StrayGone
from egress.control.inventory import adoption, breaker, quarantine
from egress.control.inventory.tidy import tidy
from egress.control.models import Assignment, AssignmentStatus, Event, Gateway, GatewayStatus
from egress.control.models_installation import Installation, StrayServer
from egress.control.services import egress_disable, egress_enable
from tests.factories import make_app

from .fleet import Fleet

pytestmark = pytest.mark.costly

HOUR = timedelta(hours=1)


@pytest.fixture
def enabled(fleet: Fleet) -> Fleet:
    egress_enable(app=fleet.app, actor=fleet.user)
    return fleet


def ids(fleet: Fleet) -> list[str]:
    return [server.id for server in fleet.cloud.servers()]


def add_duplicates(fleet: Fleet, count: int) -> list[str]:
    tags = (naming.installation_tag(), naming.gateway_tag(fleet.gateways()[0].pk))
    return [fleet.cloud.add_stray(*tags) for _ in range(count)]


def add_unknown(fleet: Fleet) -> str:
    return fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(uuid4()))


def age(stray: StrayServer, by: timedelta) -> None:
    StrayServer.objects.filter(pk=stray.pk).update(found_at=clock.now() - by)


# --- duplicates ------------------------------------------------------------------------------------------------------


def test_duplicates_of_a_gateway_are_deleted_and_never_routed(fleet: Fleet) -> None:
    fleet.bring_up()
    (late,) = add_duplicates(fleet, 1)
    tidy()
    tidy()
    assert ids(fleet) == ["1", "2"]
    event = Event.objects.get(subject="provider.duplicate")
    assert (event.gateway, event.old) == (fleet.gateways()[0], late)
    assert [gateway.server_id for gateway in fleet.gateways()] == ["1", "2"]


def test_a_server_that_lands_after_the_release_is_deleted(enabled: Fleet) -> None:
    add = (naming.installation_tag(), naming.gateway_tag(enabled.gateways()[0].pk))
    egress_disable(app=enabled.app, actor=enabled.user)
    enabled.step()
    enabled.cloud.add_stray(*add)
    tidy()
    assert ids(enabled) == []


def test_a_server_that_may_be_adopted_stays(enabled: Fleet) -> None:
    gateway = enabled.gateways()[0]
    Gateway.objects.filter(pk=gateway.pk).update(provisioning_status=GatewayStatus.CREATING)
    add_duplicates(enabled, 1)
    tidy()
    assert ids(enabled) == ["1"]
    assert not StrayServer.objects.exists()


def test_one_that_can_not_be_deleted_keeps_no_other(fleet: Fleet) -> None:
    fleet.bring_up()
    add_duplicates(fleet, 2)
    fleet.cloud.fail("delete", "provider_rejected")
    tidy()
    assert len(ids(fleet)) == 3
    tidy()
    assert ids(fleet) == ["1", "2"]
    assert Event.objects.filter(subject="provider.duplicate").count() == 2


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_an_unknown_server_is_kept_told_once_and_never_deleted_unasked(fleet: Fleet, settings: Settings) -> None:
    fleet.bring_up()
    unknown, untagged = add_unknown(fleet), fleet.cloud.add_stray(naming.installation_tag())
    settings.CLOCK_OFFSET_SECONDS = 0
    for _ in range(3):
        tidy()
        settings.CLOCK_OFFSET_SECONDS += 7 * 24 * 3600
    assert ids(fleet) == ["1", "2", unknown, untagged]
    assert {stray.server_id for stray in StrayServer.objects.all()} == {unknown, untagged}
    assert StrayServer.objects.get(server_id=unknown).public_address == "203.0.113.3"
    assert Event.objects.filter(subject="provider.stray", new="quarantined").count() == 2
    assert fleet.cloud.calls("delete") == 0


def test_an_ordered_deletion_waits_for_the_end_of_the_quarantine(fleet: Fleet) -> None:
    unknown = add_unknown(fleet)
    tidy()
    stray = StrayServer.objects.get()
    quarantine.deletion_order(stray=stray, actor=fleet.user)
    age(stray, 23 * HOUR)
    tidy()
    assert ids(fleet) == [unknown]
    age(stray, 25 * HOUR)
    tidy()
    assert ids(fleet) == []
    tidy()
    assert not StrayServer.objects.exists()
    words = list(Event.objects.filter(subject="provider.stray").order_by("at").values_list("new", flat=True))
    assert words == ["quarantined", "deletion ordered", "deleting", "released"]
    assert Event.objects.get(new="deletion ordered").actor == fleet.user


def test_an_order_can_be_withdrawn(fleet: Fleet) -> None:
    unknown = add_unknown(fleet)
    tidy()
    stray = StrayServer.objects.get()
    quarantine.deletion_order(stray=stray, actor=fleet.user)
    quarantine.deletion_withdraw(stray=stray, actor=fleet.user)
    age(stray, 25 * HOUR)
    tidy()
    assert ids(fleet) == [unknown]


def test_what_is_gone_leaves_the_quarantine_and_an_order_for_it_is_refused(fleet: Fleet) -> None:
    unknown = add_unknown(fleet)
    tidy()
    stray = StrayServer.objects.get()
    fleet.cloud.delete(unknown)
    tidy()
    assert not StrayServer.objects.exists()
    with pytest.raises(StrayGone):
        quarantine.deletion_order(stray=stray, actor=fleet.user)


def test_half_a_pair_can_not_be_given_back(fleet: Fleet) -> None:
    tag = f"{naming.installation_tag()}:app:{fleet.app.pk}:{uuid4()}:0"
    fleet.cloud.add_stray(naming.installation_tag(), naming.gateway_tag(uuid4()), tag)
    tidy()
    assert adoption.find_for(fleet.app.pk) is None
    with pytest.raises(NotAPair):
        adoption.pair_adopt(app=fleet.app, actor=fleet.user)


# --- the breaker -----------------------------------------------------------------------------------------------------


def test_too_many_deletions_stop_all_until_an_operator_resets(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_DELETION_LIMIT = 3
    fleet.bring_up()
    add_duplicates(fleet, 5)
    for _ in range(3):
        tidy()
    assert len(ids(fleet)) == 2 + 2
    assert Installation.objects.get().tripped_at is not None
    event = Event.objects.get(subject="provider.breaker", new="tripped")
    assert "3 servers were deleted" in event.reason
    assert breaker.reset(actor=fleet.user)
    assert not breaker.reset(actor=fleet.user)
    tidy()
    assert ids(fleet) == ["1", "2"]


def test_old_deletions_count_no_more(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_DELETION_LIMIT = 2
    fleet.bring_up()
    for _ in range(3):
        add_duplicates(fleet, 2)
        tidy()
        assert ids(fleet) == ["1", "2"]
        settings.CLOCK_OFFSET_SECONDS += settings.EGRESS_DELETION_WINDOW_SECONDS + 1


def test_a_deletion_that_is_tried_again_counts_once(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_DELETION_LIMIT = 1
    fleet.bring_up()
    add_duplicates(fleet, 1)
    fleet.cloud.fail("delete", "provider_unavailable", times=5)
    for _ in range(6):
        tidy()
    assert ids(fleet) == ["1", "2"]
    assert Installation.objects.get().tripped_at is None


def test_ordered_deletions_of_unknown_servers_count_too(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_DELETION_LIMIT = 1
    kept = [add_unknown(fleet) for _ in range(2)]
    tidy()
    for stray in StrayServer.objects.all():
        quarantine.deletion_order(stray=stray, actor=fleet.user)
        age(stray, 25 * HOUR)
    tidy()
    assert len(ids(fleet)) == 1
    assert ids(fleet)[0] in kept


@pytest.mark.django_db(transaction=True)
def test_sweeps_at_once_do_not_exceed_the_limit_together(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_DELETION_LIMIT = 5

    def ask(number: int) -> bool:
        try:
            return breaker.permit(str(number), breaker.STRAY, on=None, reason="")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(ask, range(24))) == 5


# --- rows without a server -------------------------------------------------------------------------------------------


def silence(fleet: Fleet) -> None:
    """Let so much time pass that what isn't heard of is silent."""
    long_ago = clock.now() - HOUR
    Gateway.objects.update(reported_at=long_ago, status_since=long_ago)


def test_a_lost_server_is_an_error_that_is_said_and_no_new_address(fleet: Fleet) -> None:
    fleet.bring_up()
    fleet.cloud.delete("1")
    silence(fleet)
    fleet.report_gateway(fleet.gateways()[1])
    tidy()
    lost, peer = fleet.gateways()
    assert (lost.provisioning_status, peer.provisioning_status) == (GatewayStatus.ERROR, GatewayStatus.READY)
    assert Event.objects.get(subject="provider.lost").gateway == lost
    fleet.step()
    told = fleet.sync_node(fleet.nodes[0]).routes[0]
    assert [gateway.state for gateway in told.gateways] == ["draining", "active"]
    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.ACTIVE
    assert ids(fleet) == ["2"]


def test_a_gateway_that_reports_is_there_whatever_the_provider_says(fleet: Fleet) -> None:
    fleet.bring_up()
    silence(fleet)
    for gateway in fleet.gateways():
        fleet.report_gateway(gateway)
    fleet.cloud.delete("1")
    tidy()
    assert {gateway.provisioning_status for gateway in fleet.gateways()} == {GatewayStatus.READY}


def test_when_everything_seems_lost_nothing_is_believed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token may be another account's."""
    monkeypatch.setattr("egress.control.inventory.tidy.LOST_ANYHOW", 1)
    fleet.bring_up()
    silence(fleet)
    for server in ids(fleet):
        fleet.cloud.delete(server)
    tidy()
    assert {gateway.provisioning_status for gateway in fleet.gateways()} == {GatewayStatus.READY}


def test_a_server_that_only_lost_its_tags_is_not_lost(fleet: Fleet) -> None:
    fleet.bring_up()
    silence(fleet)
    fleet.cloud.retag("1")
    tidy()
    assert fleet.gateways()[0].provisioning_status == GatewayStatus.READY


def release(fleet: Fleet) -> None:
    egress_disable(app=fleet.app, actor=fleet.user)
    for _ in range(3):
        fleet.step()
        fleet.nodes_follow()
    assert Assignment.objects.get(app=fleet.app).status == AssignmentStatus.RELEASED


def test_releasing_leaves_a_server_that_is_not_ours_and_says_so(fleet: Fleet) -> None:
    """A copy of another installation's database names that installation's servers."""
    fleet.bring_up()
    fleet.cloud.retag("1", name="sg-elsewhere-1")
    release(fleet)
    assert ids(fleet) == ["1"]
    told = Event.objects.get(gateway__server_id="1", subject="gateway.status", new="deleted").reason
    assert "server 1 (sg-elsewhere-1) is still at the provider" in told


def test_releasing_deletes_a_server_that_lost_its_tags_by_its_name(fleet: Fleet) -> None:
    fleet.bring_up()
    fleet.cloud.retag("1")
    release(fleet)
    assert ids(fleet) == []


def test_a_server_in_use_that_got_another_gateways_tags_by_hand_is_neither_tidied_up_nor_released(fleet: Fleet) -> None:
    fleet.bring_up()
    own = fleet.cloud.servers()[0].tags
    other = replace(fleet, app=make_app(fleet.app.team, fleet.cluster))
    other.bring_up()
    (theirs,) = (gateway.server_id for gateway in other.gateways()[:1])
    for tags in ((naming.installation_tag(), naming.gateway_tag(uuid4())), own):
        fleet.cloud.retag(theirs, *tags)
        tidy()
        assert theirs in ids(fleet)
        assert not StrayServer.objects.exists()
    release(fleet)
    assert ids(fleet) == [gateway.server_id for gateway in other.gateways()]


# --- what operators see ----------------------------------------------------------------------------------------------


def test_operators_see_a_stray_and_a_tripped_breaker_first_and_act_on_them(
    admin_client: Client, fleet: Fleet, settings: Settings
) -> None:
    settings.EGRESS_DELETION_LIMIT = 0
    fleet.bring_up()
    add_duplicates(fleet, 1)
    add_unknown(fleet)
    tidy()
    shown = admin_client.get("/admin/").content.decode()
    assert "Unknown server, decide" in shown
    assert "the deletion breaker tripped" in shown

    stray = StrayServer.objects.get()
    order = reverse("admin:control_strayserver_delete_later_this", args=[stray.pk])
    assert "may get the address next" in admin_client.get(order).content.decode()
    stray.refresh_from_db()
    assert stray.delete_ordered_at is None
    admin_client.post(order, {"confirmed": "yes"})
    stray.refresh_from_db()
    assert stray.delete_ordered_at is not None
    admin_client.post(reverse("admin:control_strayserver_keep_this", args=[stray.pk]), {"confirmed": "yes"})
    stray.refresh_from_db()
    assert stray.delete_ordered_at is None

    reset = reverse("admin:control_installation_reset_breaker", args=[1])
    assert "Look first" in admin_client.get(reset).content.decode()
    admin_client.post(reset, {"confirmed": "yes"})
    assert Installation.objects.get().tripped_at is None
