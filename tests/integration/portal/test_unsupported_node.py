"""What a customer and an operator are shown of a node whose network isn't supported."""

import pytest
from django.test import Client

from egress.control.models import Node
from tests.integration.portal import rows

DETAIL = "network pods: containers' packets to the internet pass by this node's netfilter"


@pytest.fixture
def uncovered(crew: rows.Crew, request: pytest.FixtureRequest) -> None:
    """The crew's app in the state that the test asks for, with containers on a node that is unsupported."""
    rows.node(crew.cluster, 0, containers={"shop-api": 2})
    rows.node(crew.cluster, 1, containers={"shop-api": 1}, dataplane="unsupported", detail=DETAIL, health="unhealthy")
    rows.bring(rows.app(crew), request.param, by=crew.owner)


@pytest.mark.parametrize("uncovered", ["active", "distributing"], indirect=True)
def test_the_page_and_the_list_do_not_say_active(crew: rows.Crew, uncovered: None, client: Client) -> None:
    client.force_login(crew.viewer)
    app = crew.team.apps.get()
    page = client.get(f"/apps/{app.pk}/").content.decode()
    for content in (page, client.get("/").content.decode()):
        assert "Not on all nodes" in content
        assert "Dedicated egress active</" not in content
    words = "The app&#x27;s containers on node fra1-w2 use shared addresses: the network there doesn&#x27;t allow"
    assert words in page
    assert "on node fra1-w2 reach the internet through shared addresses" in page
    assert "on node fra1-w1 reach the internet through gateway" in page


@pytest.mark.parametrize("uncovered", ["active"], indirect=True)
def test_the_api_says_degraded(crew: rows.Crew, uncovered: None, client: Client) -> None:
    _, secret = rows.token(crew)
    path = f"/api/v1/apps/{crew.team.apps.get().pk}/egress"
    answer = client.get(path, headers={"Authorization": f"Token {secret}"}).json()
    assert answer["state"] == "degraded"
    assert {each["status"] for each in answer["dedicated_ips"]} == {"ASSIGNED"}
    Node.objects.update(dataplane="ok")
    assert client.get(path, headers={"Authorization": f"Token {secret}"}).json()["state"] == "active"


@pytest.mark.parametrize("uncovered", ["active"], indirect=True)
def test_the_admin_shows_node_and_reason(crew: rows.Crew, uncovered: None, client: Client) -> None:
    operator = rows.person("operator@sluicegate.example", is_staff=True, is_superuser=True)
    client.force_login(operator)
    listed = client.get("/admin/control/node/?attention=unsupported").content.decode()
    assert "fra1-w2" in listed
    assert "fra1-w1<" not in listed
    assert "containers&#x27; packets to the internet pass by" in listed
