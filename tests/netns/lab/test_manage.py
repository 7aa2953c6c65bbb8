"""`manage.py lab …` against a running lab."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from egress.control.models import App
from tests.factories import make_app

from .conftest import Lab

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.django_db]


def manage(*arguments: str) -> str:
    out = io.StringIO()
    call_command("lab", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def _this_lab(lab: Lab, settings: Any) -> None:
    settings.LAB_SOCKET = str(lab.state / "lab.sock")


@pytest.fixture
def app(lab: Lab) -> Iterator[App]:
    """An app whose namespace isn't its name, with a container on each node."""
    made = make_app(name="store", namespace="store-f00d")
    for node in ("node-1", "node-2"):
        lab.client.start_container(made.namespace, node=node)
    yield made
    if any(one["namespace"] == made.namespace for one in lab.client.status()["containers"]):
        lab.client.stop_container(made.namespace)


def test_ip_prints_the_address_seen_outside(app: App) -> None:
    assert manage("ip", "store", "--node", "node-1") == "198.51.100.21\n"
    assert manage("ip", "store-f00d", "--node", "node-2") == "198.51.100.22\n"


def test_exec_passes_the_exit_code_on(app: App) -> None:
    with pytest.raises(SystemExit) as ended:
        manage("exec", "store", "--node", "node-2", "--", "sh", "-c", "exit 7")
    assert ended.value.code == 7
    assert manage("exec", "store", "--", "echo", "--node", "x") == "--node x\n"


def test_containers_start_and_stop(app: App) -> None:
    name = manage("start-container", "store", "--node", "node-1").strip()
    assert name == "store-f00d-3"
    assert name in manage("status")
    assert manage("stop-container", name) == f"{name}\n"
    assert manage("stop-container", "store", "--node", "node-2") == "store-f00d-2\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("start-container", "nope", "--node", "node-1"), "There is no app 'nope'; there are store"),
        (("start-container", "store", "--node", "nope"), "there is no node 'nope': node-1, node-2"),
        (("ip", "nope"), "no container of 'nope' runs; running: .*store-f00d-1"),
        (("ip", "store", "--node", "nope"), "there is no node 'nope'"),
        (("exec", "nope", "--", "true"), "no container of 'nope' runs"),
        (("stop-container", "nope"), "no container of 'nope' runs"),
    ],
)
def test_mistakes_are_named(app: App, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        manage(*arguments)


def test_without_a_lab_it_says_what_to_do(settings: Any, lab: Lab) -> None:
    settings.LAB_SOCKET = str(lab.state / "absent.sock")
    with pytest.raises(CommandError, match=r"start \./dev demo first"):
        manage("status")
