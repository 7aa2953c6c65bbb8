"""People, rows and clients for the portal's tests."""

from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.test import Client

from egress.control.models import App
from tests.integration.portal import rows

#: Everybody who may knock at a door, and how they stand to the team.
KNOCKERS = ("owner", "member", "viewer", "outsider", "anonymous")


@pytest.fixture
def crew(db: None) -> rows.Crew:
    return rows.crew()


@pytest.fixture
def app(crew: rows.Crew) -> App:
    rows.node(crew.cluster, 0, containers={"shop-api": 2})
    rows.node(crew.cluster, 1, containers={"shop-api": 1})
    return rows.app(crew)


@pytest.fixture
def client_of(crew: rows.Crew) -> Callable[[str], Client]:
    def make(who: str) -> Client:
        client = Client()
        if who != "anonymous":
            client.force_login(getattr(crew, who))
        return client

    return make


@pytest.fixture(autouse=True)
def _no_throttle_left_over() -> None:
    cache.clear()
