"""What teams are told: once each, in the words that they need, and to those whom it concerns."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction
from pytest_django import Settings

from egress.control import clock, installation
from egress.control.health import LOST, observe_gateway
from egress.control.models import App, Assignment, Event, Gateway, GatewayStatus, Node, Placement
from egress.control.models_told import Mail, Notification, Standing
from egress.control.services import egress_disable
from egress.control.told import notices, standing
from egress.control.transitions import gateway_transition
from portal.accounts.models import Membership, Role
from tests.factories import make_user

from .fleet import Fleet

pytestmark = pytest.mark.costly

Kind = Notification.Kind


@pytest.fixture
def active(fleet: Fleet) -> Fleet:
    fleet.bring_up()
    standing.look()
    return fleet


def go_on(settings: Settings, seconds: float, fleet: Fleet, *, sick: tuple[int, ...] = ()) -> None:
    """Let time pass; at its end all but the sick gateways have just reported, as the nodes have."""
    settings.CLOCK_OFFSET_SECONDS += seconds
    now = clock.now()
    words = {}
    for gateway in fleet.gateways():
        Gateway.objects.filter(pk=gateway.pk).update(forwarding=gateway.slot not in sick, reported_at=now)
        gateway.refresh_from_db()
        observe_gateway(gateway)
        words[str(gateway.pk)] = "unhealthy" if gateway.slot in sick else "healthy"
    Node.objects.update(reported_at=now, gateways=words)
    standing.look()


def kinds() -> list[str]:
    return list(Notification.objects.order_by("id").values_list("kind", flat=True))


def latest() -> Notification:
    return Notification.objects.latest("id")


def test_a_whole_pair_is_told_of_nothing(active: Fleet, settings: Settings) -> None:
    for _ in range(3):
        go_on(settings, 700, active)
    assert kinds() == []
    assert not Event.objects.filter(subject="assignment.standing").exists()
    assert Standing.objects.get().addresses == [gateway.public_address for gateway in active.gateways()]


def test_an_outage_and_its_end_are_told_once_each(active: Fleet, settings: Settings) -> None:
    go_on(settings, 5, active, sick=(0, 1))
    begun = Standing.objects.get().since
    assert kinds() == []
    for _ in range(3):
        go_on(settings, 31, active, sick=(0, 1))
    assert kinds() == [Kind.OUTAGE]
    outage = latest()
    assert outage.subject == f"{active.app.name}: both gateways are down"
    assert f"Neither gateway of {active.app.name} can be used since {begun:%Y-%m-%d %H:%M:%S} UTC." in outage.text
    assert "blocked meanwhile. None leaves from another address." in outage.text
    assert f"/apps/{active.app.pk}/" in notices.mail_body(outage)

    go_on(settings, 5, active)
    assert kinds() == [Kind.OUTAGE]
    for _ in range(3):
        go_on(settings, 301, active)
    assert kinds() == [Kind.OUTAGE, Kind.OUTAGE_OVER]
    assert f"The outage began at {begun:%Y-%m-%d %H:%M:%S} UTC." in latest().text
    states = list(Event.objects.filter(subject="assignment.standing").order_by("id").values_list("old", "new"))
    assert states == [("whole", "outage"), ("outage", "whole")]


def test_who_chose_shared_addresses_is_told_that_they_are_used(active: Fleet, settings: Settings) -> None:
    App.objects.update(on_outage="shared")
    for _ in range(2):
        go_on(settings, 31, active, sick=(0, 1))
    assert "As you chose, new connections leave from shared addresses meanwhile" in latest().text
    assert "blocked" not in latest().text


def test_one_gateway_down_is_told_when_it_lasts_and_when_it_is_over(active: Fleet, settings: Settings) -> None:
    go_on(settings, 5, active, sick=(1,))
    go_on(settings, 590, active, sick=(1,))
    assert kinds() == []
    go_on(settings, 20, active, sick=(1,))
    assert kinds() == [Kind.DEGRADED]
    assert "Gateway B is down." in latest().text
    assert "there is nothing for you to do" in latest().text
    for _ in range(2):
        go_on(settings, 301, active)
    assert kinds() == [Kind.DEGRADED, Kind.WHOLE]


def test_an_outage_that_ends_in_one_gateway_says_so(active: Fleet, settings: Settings) -> None:
    for _ in range(2):
        go_on(settings, 31, active, sick=(0, 1))
    for _ in range(2):
        go_on(settings, 301, active, sick=(0,))
    assert kinds() == [Kind.OUTAGE, Kind.OUTAGE_OVER]
    assert "Gateway A is down." in latest().text
    for _ in range(2):
        go_on(settings, 301, active)
    assert kinds() == [Kind.OUTAGE, Kind.OUTAGE_OVER, Kind.WHOLE]


def test_a_blip_is_in_the_history_and_in_no_mail(active: Fleet, settings: Settings) -> None:
    go_on(settings, 5, active, sick=(0, 1))
    for _ in range(3):
        go_on(settings, 301, active)
    assert kinds() == []
    assert Event.objects.filter(subject="assignment.standing", new="outage").count() == 1


def test_planned_work_is_told_by_no_mail(active: Fleet, settings: Settings) -> None:
    gateway_transition(gateway=active.gateways()[0], to=GatewayStatus.DRAINING)
    for _ in range(3):
        go_on(settings, 700, active)
    assert Standing.objects.get().state == "maintenance"
    assert kinds() == []


def test_repair_of_what_failed_stays_degraded(active: Fleet, settings: Settings) -> None:
    go_on(settings, 5, active, sick=(0,))
    row = active.gateways()[0]
    for to in (GatewayStatus.DRAINING, GatewayStatus.MAINTENANCE, GatewayStatus.BOOTING):
        gateway_transition(gateway=row, to=to, health="unknown")
        standing.look()
        assert Standing.objects.get().state == "degraded"


def test_after_our_own_absence_nobody_is_alarmed(active: Fleet, settings: Settings) -> None:
    """All reports are old, those of nodes too: that says nothing of anybody's traffic."""
    settings.CLOCK_OFFSET_SECONDS += 3600
    for gateway in active.gateways():
        observe_gateway(gateway)
    for _ in range(3):
        standing.look()
        settings.CLOCK_OFFSET_SECONDS += 60
    assert (kinds(), Standing.objects.get().state) == ([], "whole")


def test_nodes_that_reach_the_gateways_keep_their_silence_from_alarming(active: Fleet, settings: Settings) -> None:
    go_on(settings, 60, active)
    Gateway.objects.update(health="unhealthy")
    for _ in range(3):
        settings.CLOCK_OFFSET_SECONDS += 15
        standing.look()
    assert (kinds(), Standing.objects.get().state) == ([], "whole")


def test_a_lost_address_is_told_at_once_and_once(active: Fleet, settings: Settings) -> None:
    lost = active.gateways()[0]
    gateway_transition(gateway=lost, to=GatewayStatus.ERROR, detail=LOST)
    for _ in range(3):
        standing.look()
    assert kinds() == [Kind.ADDRESS_LOST]
    assert latest().subject == f"{active.app.name}: take {lost.public_address} out of firewalls"
    assert f"take {lost.public_address} out of every firewall" in latest().text
    event = Event.objects.get(subject="address.lost")
    assert (event.old, event.gateway) == (lost.public_address, lost)


def test_a_replaced_address_is_told_with_the_old_one_once_it_is_sure(active: Fleet, settings: Settings) -> None:
    lost, peer = active.gateways()
    gateway_transition(gateway=lost, to=GatewayStatus.ERROR, detail=LOST)
    standing.look()
    gateway_transition(gateway=lost, to=GatewayStatus.DELETING)
    gateway_transition(gateway=lost, to=GatewayStatus.DELETED)
    heir = Gateway.objects.create(assignment=active.assignment, slot=0, public_address=None)
    Assignment.objects.update(placement=Placement.UNCHECKED)
    for to, changes in (
        (GatewayStatus.CREATING, {}),
        (GatewayStatus.BOOTING, {"public_address": "203.0.113.99", "private_address": "10.110.0.99"}),
    ):
        gateway_transition(gateway=heir, to=to, **changes)
        standing.look()
        assert kinds() == [Kind.ADDRESS_LOST], "it may still be replaced for standing on the other one's host"
    Assignment.objects.update(placement=Placement.APART)
    for _ in range(3):
        standing.look()
    assert kinds() == [Kind.ADDRESS_LOST, Kind.ADDRESS_REPLACED]
    assert latest().subject == f"{active.app.name}: new address 203.0.113.99, update your firewalls"
    assert "new: 203.0.113.99" in latest().text
    assert f"old: {lost.public_address}" in latest().text
    assert Standing.objects.get().addresses == ["203.0.113.99", peer.public_address]


def test_a_replacement_that_was_done_between_two_looks_is_told(active: Fleet, settings: Settings) -> None:
    old = active.gateways()[1]
    for to in (GatewayStatus.DELETING, GatewayStatus.DELETED):
        gateway_transition(gateway=old, to=to)
    settings.CLOCK_OFFSET_SECONDS += 60
    heir = Gateway.objects.create(assignment=active.assignment, slot=1, health="healthy", reported_at=clock.now())
    Gateway.objects.filter(pk=heir.pk).update(provisioning_status="ready", public_address="203.0.113.77")
    standing.look()
    assert kinds() == [Kind.ADDRESS_REPLACED]


def test_owners_and_members_get_mail_viewers_strangers_and_who_left_do_not(active: Fleet, settings: Settings) -> None:
    for role, on in ((Role.OWNER, True), (Role.VIEWER, True), (Role.MEMBER, False)):
        person = make_user(f"{role}-{on}@example.com".lower(), is_active=on)
        Membership.objects.create(user=person, team=active.app.team, role=role)
    make_user("stranger@example.com")
    gateway_transition(gateway=active.gateways()[0], to=GatewayStatus.ERROR, detail=LOST)
    standing.look()
    assert set(Mail.objects.values_list("user__email", flat=True)) == {active.user.email, "owner-true@example.com"}


def test_state_event_and_notification_are_one_transaction(
    active: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on(settings, 5, active, sick=(0, 1))
    real = notices.Mail.objects.bulk_create

    def dies(*_args: object, **_fields: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(notices.Mail.objects, "bulk_create", dies)
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        go_on(settings, 31, active, sick=(0, 1))
    assert (kinds(), Standing.objects.get().told) == ([], "whole")
    monkeypatch.setattr(notices.Mail.objects, "bulk_create", real)
    go_on(settings, 1, active, sick=(0, 1))
    assert (kinds(), Standing.objects.get().told, Mail.objects.count()) == ([Kind.OUTAGE], "outage", 1)


def test_who_disabled_is_told_no_more(active: Fleet, settings: Settings) -> None:
    for _ in range(2):
        go_on(settings, 31, active, sick=(0, 1))
    egress_disable(app=active.app, actor=active.user)
    for _ in range(2):
        go_on(settings, 301, active)
    assert kinds() == [Kind.OUTAGE]


def test_while_the_installation_stands_still_nobody_is_told_anything(active: Fleet, settings: Settings) -> None:
    installation.hold(reason="a test")
    for _ in range(3):
        go_on(settings, 31, active, sick=(0, 1))
    assert kinds() == []


def test_a_settled_fleet_costs_a_look_the_same_whatever_its_size(
    active: Fleet, django_assert_max_num_queries: Callable
) -> None:
    with django_assert_max_num_queries(10):
        standing.look()


def test_an_app_whose_name_holds_a_line_end_makes_one_line(active: Fleet) -> None:
    App.objects.update(name="shop\r\nBcc: everybody@example.com")
    gateway_transition(gateway=active.gateways()[0], to=GatewayStatus.ERROR, detail=LOST)
    standing.look()
    assert "\n" not in latest().subject
    assert latest().subject.startswith("shop Bcc: everybody@example.com: take ")


def test_words_are_plain_and_carry_no_markup(active: Fleet, settings: Settings) -> None:
    App.objects.update(name="a&b<c>")
    for kind in Kind:
        condition = type("Condition", (), {"state": "degraded", "message": "It's down."})()
        facts = {"old": "203.0.113.1", "new": "203.0.113.2", "since": clock.now(), "begun": clock.now()}
        assignment = Assignment.objects.select_related("app").get()
        told = notices.notify(assignment, kind, f"test:{kind}", condition=condition, **facts)
        text = notices.mail_body(told)
        assert "&#" not in text
        assert "&amp;" not in text
        assert "{" not in text
        assert "a&b<c>" in text
        assert text.count("\n\n\n") == 0
        assert "owner or member of the team" in text


def test_what_was_told_under_a_key_is_not_told_again(active: Fleet) -> None:
    assignment = Assignment.objects.select_related("app").get()
    for _ in range(2):
        notices.notify(assignment, Kind.ADDRESS_LOST, "lost:1", old="203.0.113.1")
    assert Mail.objects.count() == 1
    assert Notification.objects.get().created_at <= clock.now() + timedelta(seconds=1)
