"""An hour-old backup comes back: nobody loses an address or a route, and operators see what it forgot.

Real copies of the database; the agents' side is what agents really keep: tables that grow by `merge`, tokens.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from egress.control import clock, distribution, installation
from egress.control.agents import calls as agents
from egress.control.errors import StandsStill, WindowClosed
from egress.control.health import watch_silence
from egress.control.inventory import adoption
from egress.control.inventory.tidy import tidy
from egress.control.models import AssignmentStatus, Cluster, Event, Gateway, GatewayStatus, Node, NodeStatus
from egress.control.models_installation import Installation, StrayServer
from egress.control.reconcile.loop import sweep
from egress.control.selectors import egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry
from egress.wire.messages import GatewaySyncRequest
from tests.factories import make_node

from .backup import Backups
from .fleet import Fleet
from .restored import HOUR, NodeAgent, World, gateways_return

pytestmark = [pytest.mark.costly, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world(fleet: Fleet, tmp_path: Path, settings: Settings) -> Iterator[World]:
    made = World(fleet, Backups(tmp_path), settings, [NodeAgent(node.name) for node in fleet.nodes], [fleet])
    made.up(fleet)
    yield made
    made.backups.forget()


def test_an_app_enabled_since_gets_its_addresses_back_and_its_nodes_never_lose_its_route(world: World) -> None:
    new = world.another()
    world.backups.take()
    world.up(new)
    before, route, history = world.servers(), world.nodes[0].route(new.app.namespace), Cluster.objects.get().epoch
    world.restore()
    for _ in range(3):
        tidy()
        sweep()
        world.reconcile_all()
    assert world.servers() == before
    assert {stray.public_address for stray in StrayServer.objects.all()} == {"203.0.113.3", "203.0.113.4"}
    assert world.nodes[0].route(new.app.namespace) == route

    adoption.pair_adopt(app=new.app, actor=new.user)
    assert installation.resume(actor=new.user)
    for node in world.nodes:
        told = node.poll().routes
        assert {each.namespace for each in told} == {world.first.app.namespace, new.app.namespace}
        # Two different revisions may bear one number, but not in one history.
        assert node.table is not None
        assert node.table.epoch != str(history)
        again = node.route(new.app.namespace)
        assert again is not None
        assert route is not None
        assert (again.gateways, again.state) == (route.gateways, "active")
        node.report()
    gateways_return(new)
    gateways_return(world.first)
    assert new.step().status == AssignmentStatus.ACTIVE
    assert [ip.ip for ip in egress_view(new.app).ips] == ["203.0.113.3", "203.0.113.4"]
    tidy()
    assert world.servers() == before
    assert not StrayServer.objects.exists()


def test_a_pair_that_no_node_uses_goes_the_usual_way_of_a_new_one(world: World) -> None:
    new = world.another()
    world.backups.take()
    egress_enable(app=new.app, actor=new.user)
    new.step()
    world.up(world.another())
    before = world.servers()
    world.restore()
    tidy()
    adopted = adoption.pair_adopt(app=new.app, actor=new.user)
    assert (adopted.status, distribution.has_route(adopted)) == (AssignmentStatus.PROVISIONING, False)
    installation.resume()
    world.follow()
    gateways_return(new)
    new.step()
    world.follow()
    assert new.step().status == AssignmentStatus.ACTIVE
    assert [gateway.server_id for gateway in new.gateways()] == ["3", "4"]
    assert world.servers() == before


def test_a_gateway_that_replaced_another_since_is_taken_back_into_its_pair(world: World) -> None:
    other = world.another()
    egress_enable(app=other.app, actor=other.user)
    other.step()
    failed = other.gateways()[1]
    Gateway.objects.filter(pk=failed.pk).update(status_since=clock.now() - timedelta(hours=1))
    assert other.step().status == AssignmentStatus.ERROR
    world.backups.take()
    egress_retry(app=other.app, actor=other.user)
    other.step()
    other.boot_gateways()
    other.step()
    world.follow()
    assert other.step().status == AssignmentStatus.ACTIVE
    before, route = world.servers(), world.nodes[0].route(other.app.namespace)
    assert sorted(before) == ["1", "2", "3", "5"]
    world.restore()
    tidy()
    assert other.assignment.status == AssignmentStatus.ERROR
    adoption.pair_adopt(app=other.app, actor=other.user)
    installation.resume()
    assert world.nodes[0].poll()
    again = world.nodes[0].route(other.app.namespace)
    assert again is not None
    assert route is not None
    assert again.gateways == route.gateways
    world.follow()
    gateways_return(other)
    assert other.step().status == AssignmentStatus.ACTIVE
    tidy()
    assert world.servers() == before


def test_a_customer_who_enables_again_gets_the_same_addresses(world: World) -> None:
    new = world.another()
    world.backups.take()
    world.up(new)
    before = world.servers()
    world.restore()
    tidy()
    egress_enable(app=new.app, actor=new.user)
    installation.resume()
    world.follow()
    gateways_return(new)
    assert new.step().status == AssignmentStatus.ACTIVE
    assert world.servers() == before


def test_an_app_disabled_since_gets_no_new_address_and_nodes_hear_no_old_route(world: World) -> None:
    other = world.another()
    world.up(other)
    world.backups.take()
    world.down(other)
    before = world.servers()
    world.restore()
    gateways_return_tolerantly(world.first)
    tidy()
    assert {gateway.provisioning_status for gateway in other.gateways()} == {GatewayStatus.ERROR}
    assert Event.objects.filter(subject="provider.lost").count() == 2
    out = StringIO()
    call_command("restored", stdout=out)
    assert f"{other.app}" in out.getvalue().partition("servers are all gone")[2]

    egress_disable(app=other.app, actor=other.user)
    installation.resume()
    for node in world.nodes:
        told = node.poll()
        assert {route.namespace: route.state for route in told.routes}[other.app.namespace] == "draining"
    for _ in range(4):
        other.step()
        world.follow()
    assert other.step().status == AssignmentStatus.RELEASED
    assert world.servers() == before
    assert all(node.route(other.app.namespace) is None for node in world.nodes)


def gateways_return_tolerantly(fleet: Fleet) -> None:
    """Let gateways report while they are told nothing."""
    for gateway in fleet.gateways():
        fleet.report_gateway(gateway)
        asked = GatewaySyncRequest(applied_revision=0, wait_seconds=0)
        with pytest.raises(StandsStill):
            agents.gateway_clients(token=fleet.tokens[str(gateway.pk)], message=asked)


def test_an_active_app_whose_servers_are_gone_gets_no_new_ones_by_itself(world: World) -> None:
    world.backups.take()
    other = world.another()
    world.up(other)
    for server in ("1", "2"):
        world.first.cloud.delete(server)
    world.restore()
    tidy()
    installation.resume()
    created = world.first.cloud.calls("create_or_adopt")
    for _ in range(3):
        tidy()
        world.reconcile_all()
    assert world.first.cloud.calls("create_or_adopt") == created
    assert world.first.assignment.status == AssignmentStatus.ACTIVE
    assert {gateway.provisioning_status for gateway in world.first.gateways()} == {GatewayStatus.ERROR}


def test_a_pair_that_was_booting_then_and_serves_now_is_not_given_up(world: World) -> None:
    other = world.another()
    egress_enable(app=other.app, actor=other.user)
    other.step()
    world.backups.take()
    other.boot_gateways()
    other.step()
    world.follow()
    assert other.step().status == AssignmentStatus.ACTIVE
    before, route = world.servers(), world.nodes[0].route(other.app.namespace)
    world.restore()
    tidy()
    world.reconcile_all()
    assert other.assignment.status == AssignmentStatus.PROVISIONING
    installation.resume()
    world.reconcile_all()
    gateways_return(other)
    other.step()
    world.follow()
    assert other.step().status == AssignmentStatus.ACTIVE
    assert world.servers() == before
    again = world.nodes[0].route(other.app.namespace)
    assert again is not None
    assert route is not None
    assert again.gateways == route.gateways


def test_a_server_that_was_being_created_then_is_adopted(world: World) -> None:
    other = world.another()
    egress_enable(app=other.app, actor=other.user)
    other.cloud.fail("create_or_adopt", "provider_unavailable")
    other.step()
    assert other.gateways()[0].provisioning_status == GatewayStatus.CREATING
    world.backups.take()
    other.step()
    before = world.servers()
    world.settings.CLOCK_OFFSET_SECONDS += HOUR
    world.backups.restore()
    call_command("restored", stdout=StringIO())
    world.reconcile_all()
    tidy()
    assert not StrayServer.objects.exists()
    installation.resume()
    world.reconcile_all()
    assert [gateway.server_id for gateway in other.gateways()] == ["3", "4"]
    assert world.servers() == before


def test_what_was_being_deleted_then_and_is_gone_now_is_released(world: World) -> None:
    other = world.another()
    world.up(other)
    egress_disable(app=other.app, actor=other.user)
    other.cloud.fail("delete", "provider_unavailable")
    for _ in range(3):
        other.step()
        world.follow()
    assert other.gateways()[0].provisioning_status == GatewayStatus.DELETING
    world.backups.take()
    assert other.step().status == AssignmentStatus.RELEASED
    # Nodes hear of something newer, else nothing tells that a backup was restored.
    world.up(world.another())
    before = world.servers()
    world.restore()
    world.reconcile_all()
    assert other.assignment.status == AssignmentStatus.RELEASING
    installation.resume()
    world.follow()
    world.reconcile_all()
    assert other.assignment.status == AssignmentStatus.RELEASED
    assert world.servers() == before


def test_gateways_keep_their_nodes_and_later_lists_are_never_taken_for_old_ones(world: World) -> None:
    world.backups.take()
    late = make_node(world.first.cluster)
    Cluster.objects.update(clients_revision=7)
    Node.objects.filter(pk=late.pk).update(status=NodeStatus.REMOVED)
    world.up(world.another())
    gateway = world.first.gateways()[0]
    token = world.first.tokens[str(gateway.pk)]
    world.restore()
    with pytest.raises(StandsStill):
        agents.gateway_clients(token=token, message=GatewaySyncRequest(applied_revision=7, wait_seconds=0))
    # The backup doesn't know the node: its agent joins again by itself.
    assert not Node.objects.filter(name=late.name).exists()
    make_node(world.first.cluster, name=late.name)
    installation.resume()
    told = agents.gateway_clients(token=token, message=GatewaySyncRequest(applied_revision=7, wait_seconds=0))
    assert told.revision > 7
    assert len(told.clients) == 3


def test_a_gateway_that_is_not_heard_of_after_the_restore_is_not_taken_for_well(world: World) -> None:
    installation.hold(reason="a backup was restored")
    world.settings.CLOCK_OFFSET_SECONDS += 1
    installation.resume()
    watch_silence()
    assert {gateway.health for gateway in world.first.gateways()} == {"unknown"}
    world.settings.CLOCK_OFFSET_SECONDS += HOUR
    world.first.report_gateway(world.first.gateways()[0])
    watch_silence()
    assert [gateway.health for gateway in world.first.gateways()] == ["healthy", "unhealthy"]


def test_a_gateway_enrolled_since_may_enrol_again_after_the_restore_for_a_while(world: World) -> None:
    gateway = world.first.gateways()[0]
    Gateway.objects.update(token_hash=None)
    world.backups.take()
    world.up(world.another())
    world.restore()
    with pytest.raises(WindowClosed):
        world.first.enrol(gateway)
    installation.resume()
    world.first.enrol(gateway)
    world.settings.CLOCK_OFFSET_SECONDS += HOUR
    with pytest.raises(WindowClosed):
        world.first.enrol(gateway)


def test_one_node_that_lies_keeps_what_it_has_and_holds_nobody_up(world: World) -> None:
    world.first.nodes.append(make_node(world.first.cluster))
    world.nodes.append(NodeAgent(world.first.nodes[-1].name))
    world.follow()
    liar = world.nodes[0]
    assert liar.table is not None
    liar.table = replace(liar.table, revision=liar.table.revision + 5)
    with pytest.raises(StandsStill):
        liar.poll()
    assert installation.why_still() == ""
    for node in world.nodes[1:]:
        assert node.poll()
    assert Node.objects.get(ahead_since__isnull=False).name == liar.name
    # Even once this history has as many revisions as the node says: it isn't the same history.
    Cluster.objects.update(revision=liar.table.revision + 1)
    with pytest.raises(StandsStill):
        liar.poll()
    assert Node.objects.get(name=liar.name).applied_revision == 0


def test_the_command_holds_before_anything_runs_tells_what_is_missing_and_resumes(world: World) -> None:
    world.backups.take()
    new = world.another()
    world.up(new)
    world.settings.CLOCK_OFFSET_SECONDS += HOUR
    world.backups.restore()
    call_command("restored", stdout=StringIO())
    tidy()
    out = StringIO()
    call_command("restored", stdout=out)
    told = out.getvalue()
    assert "manage.py restored --resume" in told
    assert all(node.name in told.partition("Nodes not heard of")[2] for node in world.nodes)
    assert "203.0.113.3" in told.partition("Servers in quarantine")[2]
    assert "revoked since the backup is valid again" in told
    assert Installation.objects.get().held_since is not None
    out = StringIO()
    call_command("restored", "--resume", stdout=out)
    assert out.getvalue() == "It goes on.\n"
    assert installation.why_still() == ""
    assert list(Event.objects.filter(subject="installation").order_by("at").values_list("new", flat=True)) == [
        "held",
        "resumed",
    ]


def test_a_copy_of_the_database_under_another_installations_name_does_nothing(world: World) -> None:
    egress_disable(app=world.first.app, actor=world.first.user)
    world.settings.INSTALLATION_ID = "staging"
    before, calls = world.servers(), world.first.cloud.calls("list_by_tag")
    tidy()
    sweep()
    world.reconcile_all()
    assert world.servers() == before
    assert world.first.cloud.calls("list_by_tag") == calls
    assert "belongs to the installation 'dev'" in installation.why_still()
    assert not installation.resume()
    assert installation.why_still()
