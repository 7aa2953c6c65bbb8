"""The owner's choice for when both gateways are down: who may make it, what nodes are told, how long it stays."""

from collections.abc import Callable

import pytest
from django.db import transaction

from egress.control import services
from egress.control.errors import NotAllowed
from egress.control.models import App, AssignmentStatus, Cluster, Event, RouteChange
from egress.control.models_told import OnOutage
from egress.control.services import egress_disable, egress_enable, outage_choose
from portal.accounts.models import ApiToken, Membership, Role
from tests.factories import make_user

from .fleet import Fleet

pytestmark = pytest.mark.costly


def chosen(fleet: Fleet) -> str:
    return str(App.objects.get(pk=fleet.app.pk).on_outage)


def told() -> str:
    return str(RouteChange.objects.get().route["on_outage"])


def choose(fleet: Fleet, choice: OnOutage) -> None:
    outage_choose(app=App.objects.get(pk=fleet.app.pk), actor=fleet.user, on_outage=choice)


def test_traffic_is_blocked_unless_somebody_chose_otherwise(fleet: Fleet) -> None:
    fleet.bring_up()
    assert (chosen(fleet), told()) == ("reject", "reject")


def test_a_choice_is_a_new_revision_that_nodes_are_told_at_once(
    fleet: Fleet, django_capture_on_commit_callbacks: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.bring_up()
    revision = Cluster.objects.get().revision
    sent: list[tuple] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda *args, **_: sent.append(args))
    with django_capture_on_commit_callbacks(execute=True):
        choose(fleet, OnOutage.SHARED)
    assert sent == [("egress.control.tasks.reconcile_assignment", [str(fleet.assignment.pk)])]
    fleet.step()
    assert Cluster.objects.get().revision == revision + 1
    (route,) = fleet.sync_node(fleet.nodes[0]).routes
    assert (route.on_outage, route.state, len(route.gateways)) == ("shared", "active", 2)
    assert fleet.assignment.status == AssignmentStatus.ACTIVE


def test_choosing_the_same_again_tells_nobody_anything(fleet: Fleet) -> None:
    fleet.bring_up()
    for _ in range(2):
        choose(fleet, OnOutage.SHARED)
        fleet.step()
    revision = Cluster.objects.get().revision
    choose(fleet, OnOutage.SHARED)
    fleet.step()
    assert Cluster.objects.get().revision == revision
    event = Event.objects.get(subject="egress.on_outage")
    assert (event.old, event.new, event.actor, event.app) == ("reject", "shared", fleet.user, fleet.app)


def test_it_stays_through_disable_and_enable_and_may_be_made_while_off(fleet: Fleet) -> None:
    choose(fleet, OnOutage.SHARED)
    assert Event.objects.get(subject="egress.on_outage").app == fleet.app
    fleet.bring_up()
    assert told() == "shared"
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.nodes_follow()
    for _ in range(3):
        fleet.step()
        fleet.nodes_follow()
    assert fleet.assignment.status == AssignmentStatus.RELEASED
    fleet.app.refresh_from_db()
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    assert (chosen(fleet), told()) == ("shared", "shared")


def test_a_choice_while_nodes_are_being_told_reaches_them_too(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    choose(fleet, OnOutage.SHARED)
    fleet.nodes_follow()
    fleet.step()
    assert told() == "shared"


@pytest.mark.parametrize(("role", "allowed"), [(Role.OWNER, True), (Role.MEMBER, True), (Role.VIEWER, False)])
def test_members_and_owners_choose_viewers_do_not(fleet: Fleet, role: Role, allowed: bool) -> None:  # noqa: FBT001 - a parameter
    person = make_user()
    Membership.objects.create(user=person, team=fleet.app.team, role=role)
    if allowed:
        outage_choose(app=fleet.app, actor=person, on_outage=OnOutage.SHARED)
    else:
        with pytest.raises(NotAllowed):
            outage_choose(app=fleet.app, actor=person, on_outage=OnOutage.SHARED)
    assert chosen(fleet) == ("shared" if allowed else "reject")


def test_a_strangers_token_and_one_that_only_reads_choose_nothing(fleet: Fleet) -> None:
    reader, _ = ApiToken.issue(team=fleet.app.team, name="reader", created_by=fleet.user, can_write=False)
    for actor in (reader, make_user()):
        with pytest.raises(NotAllowed):
            outage_choose(app=fleet.app, actor=actor, on_outage=OnOutage.SHARED)
    assert not Event.objects.filter(subject="egress.on_outage").exists()


def test_choice_and_event_are_one_transaction(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_fields: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(services.events, "record", full)
    with pytest.raises(OSError, match="disk full"), transaction.atomic():
        choose(fleet, OnOutage.SHARED)
    assert chosen(fleet) == "reject"
