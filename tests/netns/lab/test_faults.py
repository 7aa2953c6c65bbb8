"""Faults injected through the control socket strike the lab's cloud API."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from egress.lab.client import LabError

from .conftest import Lab

pytestmark = [pytest.mark.netns, pytest.mark.cni]


@pytest.fixture(autouse=True)
def _clean(lab: Lab, settings: Any) -> Iterator[None]:
    settings.LAB_SOCKET = str(lab.state / "lab.sock")
    yield
    lab.client.faults_clear()


def manage(*arguments: str) -> str:
    out = io.StringIO()
    call_command("lab", "fault", *arguments, stdout=out)
    return out.getvalue()


def test_a_fault_strikes_as_often_as_it_was_told(lab: Lab) -> None:
    lab.client.fault("rate_limited", operation="list", count=2)
    assert [lab.api("GET", path)[0] for path in ("account", "droplets", "droplets", "droplets")] == [200, 429, 429, 200]
    assert lab.client.faults() == []


def test_what_waits_can_be_seen_and_cleared(lab: Lab) -> None:
    lab.client.fault("failed_before", operation="get", count=3, status=503)
    assert lab.client.faults() == [{"kind": "failed_before", "operation": "get", "left": 3}]
    lab.client.faults_clear()
    assert lab.client.faults() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "explode"}, "kind must be one of slow, rate_limited, .*, token_refused, not 'explode'"),
        ({"kind": "slow", "operation": "all"}, "operation must be one of create, .*, not 'all'"),
        ({"kind": "slow", "count": 0}, "count must be from 1 to 1000, not 0"),
        ({"kind": "failed_after", "status": 200}, "status must be from 500 to 599, not 200"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_there_is(lab: Lab, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LabError, match=message):
        lab.client.fault(**arguments)
    assert lab.client.faults() == []


def test_the_command_injects_lists_and_clears(lab: Lab) -> None:
    assert manage("list") == "no fault is waiting\n"
    assert manage("no_capacity", "--operation", "create", "--count", "2") == ""
    assert manage("list").split() == ["no_capacity", "at", "create", "2", "more"]
    assert manage("clear") == ""
    assert lab.client.faults() == []
    with pytest.raises(CommandError, match="kind must be one of slow, rate_limited"):
        manage("explode")
