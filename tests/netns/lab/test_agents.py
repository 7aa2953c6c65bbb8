"""Node agents under the lab's care, the real plugin in both chains; no control plane answers any more.

container ── node-1 (ptp) ── agent      container ── node-2 (bridge) ── agent
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from egress.lab.client import LabError
from egress.lab.config import AgentConfig
from portal.demo.needs import obstacle

from .conftest import Lab, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if reason := obstacle():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="sgt-lab-", ignore_cleanup_errors=True) as folder:
        state = Path(folder)
        (state / "join-token").write_text("join-token-0123456789abcdef")
        for node in ("node-1", "node-2"):
            listed = state / "lab/nodes" / node / "state/namespaces"
            listed.parent.mkdir(parents=True)
            listed.write_text("#epoch-1 1\n")
        running = Lab(state)
        running.agent = AgentConfig(
            control_plane_url="https://198.51.100.80",
            ca_file=str(running.tls.ca),
            join_token_file=str(state / "join-token"),
        )
        try:
            yield running.start()
        finally:
            running.close()


@pytest.fixture(autouse=True)
def _agents_ready(lab: Lab) -> Iterator[None]:
    def ready() -> bool:
        return all(has_socket(lab, node) for node in ("node-1", "node-2"))

    wait_for("the agents listen", ready)
    yield
    for node in ("node-1", "node-2"):
        if lab.client.agent(node, "status") == "frozen":
            lab.client.agent(node, "continue")
        lab.client.agent(node, "start")


def has_socket(lab: Lab, node: str) -> bool:
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    path = f"/run/lab/nodes/{node}/agent/cni.sock"
    return lab.client.exec(node, ["python3", "-c", connect, path]).code == 0


def restarts(lab: Lab, node: str) -> int:
    return next(one["agent_restarts"] for one in lab.client.status()["nodes"] if one["name"] == node)


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_containers_start_through_the_real_plugin(lab: Lab, node: str) -> None:
    name = lab.client.start_container("shop", node=node)
    (shown,) = (one for one in lab.client.status()["containers"] if one["name"] == name)
    wait_for("the agent has heard of it", lambda: shown["id"] in lab.client.agent_log(node).read_text())
    assert lab.client.ip(name).startswith("198.51.100.2")
    lab.client.check_container(name)
    assert lab.client.stop_container(name) == [name]


def test_a_crashed_agent_is_restarted(lab: Lab) -> None:
    before = restarts(lab, "node-1")
    lab.client.agent("node-1", "kill")
    wait_for("it runs again", lambda: lab.client.agent("node-1", "status") == "running")
    assert restarts(lab, "node-1") == before + 1
    wait_for("it listens", lambda: has_socket(lab, "node-1"))


def test_a_stopped_agent_stays_stopped_and_containers_of_others_start(lab: Lab) -> None:
    assert lab.client.agent("node-2", "stop") == "stopped"
    before = restarts(lab, "node-2")
    name = lab.client.start_container("blog", node="node-2")
    assert lab.client.ip(name) == "198.51.100.22"
    lab.client.stop_container(name)
    assert (lab.client.agent("node-2", "status"), restarts(lab, "node-2")) == ("stopped", before)
    with pytest.raises(LabError, match="is stopped: start it first"):
        lab.client.agent("node-2", "freeze")
    lab.client.agent("node-2", "start")
    wait_for("it runs again", lambda: lab.client.agent("node-2", "status") == "running")


def test_a_frozen_agent_keeps_no_container_from_starting(lab: Lab) -> None:
    assert lab.client.agent("node-1", "freeze") == "frozen"
    name = lab.client.start_container("blog", node="node-1")
    assert lab.client.ip(name) == "198.51.100.21"
    assert lab.client.agent("node-1", "continue") == "running"
    lab.client.stop_container(name)


@pytest.mark.parametrize("kind", ["agent_freeze", "clock_ahead", "clock_back"])
def test_a_fault_stands_on_a_node_until_it_is_healed(lab: Lab, kind: str) -> None:
    lab.client.strike(kind, "node-1")
    (standing,) = lab.client.struck()
    assert (standing["kind"], standing["target"]) == (kind, "node-1")
    assert lab.client.agent("node-1", "status") == ("frozen" if kind == "agent_freeze" else "running")
    assert lab.client.heal(target="node-2") == []
    assert lab.client.heal(target="node-1") == [standing]
    assert lab.client.agent("node-1", "status") == "running"


def test_a_running_agents_clock_is_the_one_that_a_fault_moves(lab: Lab) -> None:
    def says(hours: int) -> bool:
        # The agent's own lines say when they were written, by its clock.
        lines = lab.client.agent_log("node-1").read_text().splitlines()[-1:]
        now = datetime.now(UTC).astimezone()
        return any(line.startswith(f"{now + timedelta(hours=hours):%Y-%m-%d %H:}") for line in lines)

    lab.client.strike("clock_ahead", "node-1")
    name = lab.client.start_container("shop", node="node-1")
    wait_for("a line is from the future", lambda: says(1))
    lab.client.heal()
    lab.client.stop_container(name)
    wait_for("a line is from now", lambda: says(0))


def test_a_killed_agent_and_flushed_rules_are_events_that_do_not_stand(lab: Lab) -> None:
    before = restarts(lab, "node-1")
    lab.client.exec("node-1", ["nft", "add", "table", "ip", "other"])
    lab.client.strike("ruleset_flush", "node-1")
    tables = lab.client.exec("node-1", ["nft", "list", "tables"]).stdout
    assert "ip kube" in tables
    assert "ip other" not in tables
    lab.client.strike("agent_kill", "node-1")
    wait_for("it runs again", lambda: restarts(lab, "node-1") == before + 1 and has_socket(lab, "node-1"))
    assert lab.client.struck() == []


def test_agents_get_the_processor_before_others(lab: Lab) -> None:
    pid = next(one["agent_pid"] for one in lab.client.status()["nodes"] if one["name"] == "node-1")
    outside = Path("/proc/self/uid_map").read_text().split()[-1] == "4294967295"
    assert lab.client.exec("node-1", ["ps", "-o", "ni=", "-p", str(pid)]).stdout.strip() == ("-10" if outside else "0")


def test_agents_see_no_secrets_of_the_labs_environment(lab: Lab) -> None:
    pid = next(one["agent_pid"] for one in lab.client.status()["nodes"] if one["name"] == "node-1")
    assert "SGT_LAB" not in lab.client.exec("node-1", ["cat", f"/proc/{pid}/environ"]).stdout
