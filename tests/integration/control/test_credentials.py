"""Agents' credentials: hashed, each its own agent's, replaced while in use, void at once; a stolen one is noticed."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from egress.control import clock
from egress.control.agents import calls as agents
from egress.control.errors import Unauthorized
from egress.control.models import Event, Gateway, Node
from egress.control.services import egress_disable, egress_enable, node_remove
from egress.wire.messages import (
    GatewayReport,
    GatewaySyncRequest,
    NodeJoin,
    NodeReport,
    NodeSyncRequest,
)
from portal.accounts.models import token_hash
from tests.factories import make_cluster_and_token, make_user

from .fleet import Fleet, node_acknowledge, node_told

DAY = timedelta(days=1)
NODE_ASKS = NodeSyncRequest(epoch="", applied_revision=0, wait_seconds=0)
GATEWAY_ASKS = GatewaySyncRequest(applied_revision=0, wait_seconds=0)


class Agent:
    """One agent of either kind, by its first token; `report` and `sync` are what it does with any."""

    def __init__(self, fleet: Fleet, kind: str) -> None:
        self.model: type[Node | Gateway] = Node if kind == "node" else Gateway
        if kind == "node":
            self.pk, self.token = fleet.nodes[0].pk, f"node-token-{fleet.nodes[0].name}"
        else:
            gateway = fleet.gateways()[0]
            self.pk, self.token = gateway.pk, fleet.enrol(gateway)

    @property
    def row(self) -> Node | Gateway:
        return self.model.objects.get(pk=self.pk)

    def sync(self, token: str) -> str:
        """Sync, and return the token offered."""
        if self.model is Node:
            return node_told(token, NODE_ASKS).credential
        return agents.gateway_clients(token=token, message=GATEWAY_ASKS).credential

    def report(self, token: str) -> None:
        if self.model is Node:
            agents.node_report(token=token, message=NodeReport(boot_id="b", agent_version="1", dataplane="ok"))
        else:
            agents.gateway_report(token=token, message=GatewayReport(boot_id="b", agent_version="1", forwarding=True))

    def age(self, time: timedelta) -> None:
        self.model.objects.filter(pk=self.pk).update(token_at=clock.unmoved() - time)

    def alarms(self) -> list[str]:
        told = Event.objects.filter(kind="security").order_by("id")
        return [event.new for event in told if self.pk in (event.node_id, event.gateway_id)]


@pytest.fixture(params=["node", "gateway"])
def agent(request: pytest.FixtureRequest, fleet: Fleet) -> Agent:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    return Agent(fleet, request.param)


def refused(agent: Agent, token: str) -> bool:
    try:
        agent.report(token)
    except Unauthorized:
        return True
    return False


def rotate(agent: Agent) -> tuple[str, str]:
    """Have the agent go on with a new token; returns the old one and the new one."""
    agent.age(DAY)
    new = agent.sync(agent.token)
    agent.report(new)
    return agent.token, new


def test_a_young_credential_is_offered_no_other(agent: Agent) -> None:
    assert agent.sync(agent.token) == ""
    assert agent.row.next_token_hash is None


def test_both_are_valid_until_the_new_one_is_used_and_only_the_new_one_then(agent: Agent) -> None:
    agent.age(DAY)
    new = agent.sync(agent.token)
    for _ in range(2):
        assert not refused(agent, agent.token)
    assert not refused(agent, new)
    assert refused(agent, agent.token)
    assert not refused(agent, new)
    assert agent.sync(new) == ""


def test_an_offer_that_got_lost_is_followed_by_another_and_void(agent: Agent) -> None:
    agent.age(DAY)
    lost, came = agent.sync(agent.token), agent.sync(agent.token)
    assert lost != came
    assert refused(agent, lost)
    assert not refused(agent, agent.token)
    assert not refused(agent, came)


def test_only_hashes_are_kept(agent: Agent) -> None:
    old, new = rotate(agent)
    agent.age(DAY)
    offered = agent.sync(new)
    row = agent.row
    assert row.token_hash == token_hash(new)
    assert row.next_token_hash == token_hash(offered)
    assert row.retired_token_hash == token_hash(old)
    stored = str(agent.model.objects.values().get(pk=agent.pk))
    assert not any(token in stored for token in (old, new, offered))


def test_a_retired_credential_is_refused_and_operators_are_told_once(agent: Agent) -> None:
    old, new = rotate(agent)
    agent.age(timedelta(minutes=10))
    for _ in range(3):
        assert refused(agent, old)
    assert agent.alarms() == ["retired, yet used"]
    assert not refused(agent, new)


def test_a_poll_that_was_given_up_before_is_no_alarm(agent: Agent) -> None:
    old, _ = rotate(agent)
    assert refused(agent, old)
    assert agent.alarms() == []
    agent.age(timedelta(seconds=50))
    assert refused(agent, old)
    assert agent.alarms() == []


def test_a_thief_who_renews_is_told_of_by_the_true_agents_next_call(agent: Agent) -> None:
    agent.age(DAY)
    stolen = agent.token
    thiefs = agent.sync(stolen)
    agent.report(thiefs)
    agent.age(timedelta(minutes=10))
    assert refused(agent, agent.token)
    assert agent.alarms() == ["retired, yet used"]


def test_a_credential_past_its_lifetime_is_refused(agent: Agent, settings: Settings) -> None:
    agent.age(timedelta(seconds=settings.AGENT_TOKEN_LIFETIME_SECONDS))
    assert refused(agent, agent.token)
    settings.AGENT_TOKEN_LIFETIME_SECONDS *= 2
    assert not refused(agent, agent.token)


def test_a_jump_of_the_labs_clock_makes_no_credential_old(agent: Agent, settings: Settings) -> None:
    settings.CLOCK_OFFSET_SECONDS = 400 * 86_400
    assert agent.sync(agent.token) == ""


def test_what_is_removed_has_no_credential_left_offered_ones_too(agent: Agent, fleet: Fleet) -> None:
    agent.age(DAY)
    new = agent.sync(agent.token)
    if agent.model is Node:
        node_remove(node=fleet.nodes[0], actor=make_user())
    else:
        egress_disable(app=fleet.app, actor=fleet.user)
        fleet.step()
    assert refused(agent, agent.token)
    assert refused(agent, new)
    assert agent.alarms() == []


def test_an_offer_alone_opens_nothing_once_the_credential_is_void(agent: Agent) -> None:
    agent.age(DAY)
    new = agent.sync(agent.token)
    agent.model.objects.filter(pk=agent.pk).update(token_hash=None)
    assert refused(agent, new)


def test_after_a_theft_the_node_that_joins_again_is_alone_with_its_credential(db: None) -> None:
    _, token = make_cluster_and_token()
    message = NodeJoin(name="w", private_address="10.110.0.21", boot_id="b", agent_version="1")
    first = agents.node_join(token=token, message=message).token
    Node.objects.update(token_at=clock.unmoved() - DAY)
    thiefs = node_told(first, NODE_ASKS).credential
    node_told(thiefs, NODE_ASKS)
    second = agents.node_join(token=token, message=message).token
    Node.objects.update(token_at=clock.unmoved() - timedelta(minutes=10))
    for void in (first, thiefs):
        with pytest.raises(Unauthorized):
            node_told(void, NODE_ASKS)
    node_told(second, NODE_ASKS)
    told = Event.objects.filter(subject="node.credential").order_by("id").values_list("new", flat=True)
    assert list(told) == ["replaced", "retired, yet used"]


# --- each its own ----------------------------------------------------------------------------------------------------


def test_a_credential_of_one_kind_opens_nothing_of_the_other(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    node, gateway = Agent(fleet, "node"), Agent(fleet, "gateway")
    assert refused(node, gateway.token)
    assert refused(gateway, node.token)


def test_an_agent_reports_for_itself_only(agent: Agent, fleet: Fleet) -> None:
    """No message names its sender: the token does."""
    fleet.boot_gateways() if agent.model is Gateway else None
    others = agent.model.objects.exclude(pk=agent.pk)
    before = list(others.values())
    token = agent.token if agent.model is Node else fleet.tokens[str(agent.pk)]
    agent.report(token)
    agent.sync(token)
    assert agent.row.reported_at is not None
    assert list(others.values()) == before


def test_a_node_speaks_for_no_gateway_of_another_cluster(fleet: Fleet) -> None:
    """It names that one's gateway, and a count past all reason; its drain ends all the same."""
    fleet.bring_up()
    cluster, token = make_cluster_and_token()
    message = NodeJoin(name="liar", private_address="10.110.0.21", boot_id="b", agent_version="1")
    liar = agents.node_join(token=token, message=message).token
    named = str(fleet.gateways()[0].pk)
    lie = NodeReport(
        boot_id="b", agent_version="1", dataplane="ok", flows={named: 2**63 - 1}, gateways={named: "unhealthy"}
    )
    node_acknowledge(liar, NodeSyncRequest(epoch=str(cluster.epoch), applied_revision=0, wait_seconds=0))
    agents.node_report(token=liar, message=lie)
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.nodes_follow()
    assert fleet.step().status == "releasing"
    assert {gateway.health for gateway in Gateway.objects.all()} == {"healthy"}


def test_a_gateway_cannot_acknowledge_what_was_never_given_out(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    liar = Agent(fleet, "gateway")
    ahead = GatewaySyncRequest(applied_revision=2**63 - 1, wait_seconds=0)
    assert agents.gateway_acknowledge(token=liar.token, message=ahead).applied_clients_revision == 0
