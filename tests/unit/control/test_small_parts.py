"""Health, names and what operators may type."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from egress.control import naming
from egress.control.health import gateway_health, node_health
from egress.control.models import App, Assignment, Gateway
from egress.control.validators import check_label, check_network, check_networks

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FRESH, OLD = NOW - timedelta(seconds=30), NOW - timedelta(seconds=31)


@pytest.mark.parametrize(
    ("forwarding", "reported_at", "expected"),
    [
        (False, None, "unknown"),
        (True, FRESH, "healthy"),
        (False, FRESH, "unhealthy"),
        (True, OLD, "unhealthy"),
    ],
)
def test_gateway_health(*, forwarding: bool, reported_at: datetime | None, expected: str) -> None:
    assert gateway_health(forwarding=forwarding, reported_at=reported_at, now=NOW) == expected


@pytest.mark.parametrize(
    ("dataplane", "reported_at", "expected"),
    [
        ("starting", None, "unknown"),
        ("starting", FRESH, "unknown"),
        ("starting", OLD, "unhealthy"),
        ("ok", FRESH, "healthy"),
        ("ok", OLD, "unhealthy"),
        ("failed", FRESH, "unhealthy"),
        ("unsupported", FRESH, "unhealthy"),
    ],
)
def test_node_health(dataplane: str, reported_at: datetime | None, expected: str) -> None:
    assert node_health(dataplane=dataplane, reported_at=reported_at, now=NOW) == expected


def test_a_gateway_is_found_again_by_its_tags() -> None:
    gateway_id = uuid4()
    app, assignment = App(id=uuid4()), Assignment(id=uuid4())
    assignment.app = app
    tags = naming.tags_of(Gateway(id=gateway_id, assignment=assignment, slot=1))
    shouted = [tag.upper() for tag in tags]
    for written in (tags, shouted):
        assert naming.is_ours(written)
        assert naming.gateway_of(written) == gateway_id
        assert naming.origin_of(written) == naming.Origin(app_id=app.pk, assignment_id=assignment.pk, slot=1)
    assert all(re.fullmatch(r"[a-zA-Z0-9_\-:]{1,255}", tag) for tag in tags)


@pytest.mark.parametrize("other", ["e", "eu-2", "eu2", "us"])
def test_another_installations_tags_say_nothing_here(settings: Settings, other: str) -> None:
    assignment = Assignment(id=uuid4(), app=App(id=uuid4()))
    settings.INSTALLATION_ID = other
    tags = naming.tags_of(Gateway(id=uuid4(), assignment=assignment, slot=0))
    settings.INSTALLATION_ID = "eu"
    assert not naming.is_ours(tags)
    assert naming.gateway_of(tags) is None
    assert naming.origin_of(tags) is None


@pytest.mark.parametrize("tags", [(), ("other",), ("sluicegate-dev:gw:nonsense",), ("sluicegate-dev:app:x",)])
def test_tags_that_name_no_gateway_give_none(tags: tuple[str, ...]) -> None:
    assert naming.gateway_of(tags) is None


def test_names_hold_the_installation_and_the_gateway(settings: Settings) -> None:
    settings.INSTALLATION_ID = "eu"
    assert naming.server_name(UUID(int=1)) == "sg-eu-00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize("value", ["", "Shop", "a_b", "-a", "a-", "a" * 64, "a.b"])
def test_what_is_no_namespace_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        check_label(value)


@pytest.mark.parametrize("value", ["a", "a" * 63, "shop-1"])
def test_namespaces_are_taken(value: str) -> None:
    check_label(value)


@pytest.mark.parametrize("value", ["", "10.0.0.1/8", "::/0", 5, None, "10.0.0.0/33"])
def test_what_is_no_network_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        check_network(value)


@pytest.mark.parametrize("value", ["10.0.0.0/8", {}, ["10.0.0.0/8", "x"], ["10.0.0.0/8"] * 201])
def test_what_is_no_list_of_networks_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        check_networks(value)
