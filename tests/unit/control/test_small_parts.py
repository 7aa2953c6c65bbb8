"""Health, names and what operators may type."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from egress.control import naming
from egress.control.health import gateway_health, node_health
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
    tags = (naming.installation_tag(), naming.gateway_tag(gateway_id))
    assert naming.gateway_of(tags) == gateway_id
    assert all(tag.replace("-", "").isalnum() for tag in tags)


@pytest.mark.parametrize("tags", [(), ("other",), ("sluicegate-gw-nonsense",)])
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
