"""The operators' start page: what needs a look first."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from egress.control import clock, events
from egress.control.models import Assignment, Event, Gateway, Health, Node, NodeStatus
from egress.control.services import egress_enable
from portal.accounts.models import User
from tests.factories import make_app, make_node, make_user

from .fleet import Fleet

pytestmark = pytest.mark.costly

START = "/admin/"


@pytest.fixture(autouse=True)
def _own_sections(settings: Settings) -> None:
    """Leave out what the rooms above add: they have tests of their own."""
    settings.START_SECTIONS = []


def _sections(client: Client) -> dict[str, Any]:
    return {section.title: section for section in client.get(START).context["sections"]}


def _counts(section: Any) -> dict[str, int]:
    return {figure.label: figure.count for figure in section.figures if figure.count}


def test_a_fleet_that_is_well_needs_no_look(admin_client: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    sections = _sections(admin_client)
    assert {title: (section.total, section.waiting) for title, section in sections.items()} == {
        "assignments": (1, 0),
        "gateways": (2, 0),
        "nodes": (2, 0),
        "repair by cluster": (0, 0),
        "rollouts": (0, 0),
        "stray servers": (0, 0),
        "security events": (0, 0),
        "installations": (1, 0),
    }
    assert all(section.rows == () for section in sections.values())


def test_what_failed_and_what_takes_long_comes_with_its_reason(admin_client: Client, fleet: Fleet) -> None:
    slow = egress_enable(app=make_app(fleet.app.team, fleet.cluster), actor=fleet.user)
    Assignment.objects.filter(pk=slow.pk).update(status_since=clock.now() - timedelta(hours=1))
    fleet.cloud.fail("create_or_adopt", "provider_no_capacity")
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    section = _sections(admin_client)["assignments"]
    assert _counts(section) == {"Failed": 1, "Takes long": 1}
    matters = {row.name.split()[0]: row.matter for row in section.rows}
    assert "provider_no_capacity" in matters[fleet.app.name]
    assert "gateway A pending" in matters[slow.app.name]


def test_an_unhealthy_gateway_shows_itself_and_its_assignment(admin_client: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    fleet.report_gateway(fleet.gateways()[0], forwarding=False)
    sections = _sections(admin_client)
    assert _counts(sections["assignments"]) == {"Active, gateway unhealthy": 1}
    assert _counts(sections["gateways"]) == {"Unhealthy": 1}
    assert sections["gateways"].rows[0].name == str(fleet.gateways()[0])


@pytest.mark.parametrize(
    ("trouble", "label"),
    [
        ({"health": Health.UNHEALTHY}, "Unhealthy"),
        ({"applied_revision": 0}, "Behind with routes"),
        ({"applied_epoch": "of a database that was restored"}, "Behind with routes"),
        ({"reported_at": None, "joined_at": clock.now() - timedelta(hours=1)}, "Joined, never reported"),
    ],
)
def test_a_node_in_trouble_is_found_unless_it_was_removed(
    admin_client: Client, fleet: Fleet, trouble: dict[str, Any], label: str
) -> None:
    fleet.bring_up()
    Node.objects.filter(pk=fleet.nodes[0].pk).update(**trouble)
    section = _sections(admin_client)["nodes"]
    assert _counts(section) == {label: 1}
    assert [row.name for row in section.rows] == [fleet.nodes[0].name]
    Node.objects.filter(pk=fleet.nodes[0].pk).update(status=NodeStatus.REMOVED)
    assert _sections(admin_client)["nodes"].waiting == 0


def test_two_live_nodes_with_one_address_are_both_named(admin_client: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    first, second = fleet.nodes
    Node.objects.filter(pk=second.pk).update(private_address=first.private_address)
    assert _counts(_sections(admin_client)["nodes"]) == {"Has another node's address": 2}
    Node.objects.filter(pk=second.pk).update(status=NodeStatus.REMOVED)
    assert _sections(admin_client)["nodes"].waiting == 0


def test_each_figure_leads_to_a_list_of_as_many_rows(admin_client: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    fleet.report_gateway(fleet.gateways()[0], forwarding=False)
    Node.objects.filter(pk=fleet.nodes[0].pk).update(health=Health.UNHEALTHY, applied_revision=0)
    for section in _sections(admin_client).values():
        for figure in section.figures:
            assert admin_client.get(figure.url).context["cl"].result_count == figure.count
        everything = admin_client.get(section.url, {"attention": "any"}).context["cl"]
        assert everything.result_count == section.waiting


def test_more_rows_than_fit_are_counted_and_led_to(admin_client: Client, fleet: Fleet) -> None:
    for _ in range(20):
        make_node(fleet.cluster, health=Health.UNHEALTHY)
    shown = admin_client.get(START)
    section = {section.title: section for section in shown.context["sections"]}["nodes"]
    assert (len(section.rows), section.waiting) == (8, 20 + len(fleet.nodes))
    assert f"All {section.waiting}".encode() in shown.content


def test_it_asks_as_often_for_many_rows_as_for_few(admin_client: Client, fleet: Fleet) -> None:
    def asked() -> int:
        for _ in range(6):
            make_node(fleet.cluster, health=Health.UNHEALTHY)
            app = make_app(fleet.app.team, fleet.cluster)
            Assignment.objects.filter(pk=egress_enable(app=app, actor=fleet.user).pk).update(attempts=1)
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(START)
        return len(queries)

    # What is looked up once in a process, such as content types, is no part of it.
    admin_client.get(START)
    assert asked() == asked()


def test_a_security_event_needs_a_look_until_somebody_says_that_it_was_looked_into(
    admin_client: Client, admin_user: User, fleet: Fleet
) -> None:
    fleet.bring_up()
    row = events.record(Event.Kind.SECURITY, "gateway.credential", on=fleet.gateways()[0], reason="a copy is in use")
    section = _sections(admin_client)["security events"]
    assert _counts(section) == {"Security, not looked into": 1}
    assert [shown.matter for shown in section.rows] == [f"{fleet.app.name} A: a copy is in use"]
    listed = admin_client.get(section.figures[0].url).context["cl"].result_list
    assert list(listed) == [row]

    admin_client.post(reverse("admin:control_event_seen_this", args=[row.pk]), {"confirmed": "yes"})
    row.refresh_from_db()
    assert (row.seen_by, row.seen_at is None) == (admin_user, False)
    assert _sections(admin_client)["security events"].waiting == 0


def test_a_server_that_the_provider_does_not_delete_comes_with_what_to_do(admin_client: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    stuck = fleet.gateways()[0]
    longer = clock.now() - timedelta(hours=2)
    Gateway.objects.filter(pk=stuck.pk).update(provisioning_status="deleting", status_since=longer)
    section = _sections(admin_client)["gateways"]
    assert _counts(section) == {"Isn't deleted by the provider": 1}
    (row,) = section.rows
    assert f"server {stuck.server_id} is still there" in row.matter
    assert "in the provider's console" in row.matter


def test_staff_sees_only_what_it_may_see(fleet: Fleet) -> None:
    viewer = make_user(is_staff=True)
    client = Client()
    client.force_login(viewer)
    assert _sections(client) == {}
    viewer.user_permissions.add(Permission.objects.get(codename="view_node"))
    assert list(_sections(client)) == ["nodes"]
    assert reverse("admin:control_node_changelist").encode() in client.get(START).content
