"""Node agents under the lab's care, the real plugin in both chains; no control plane answers any more.

container ── node-1 (ptp) ── agent      container ── node-2 (bridge) ── agent
"""

import tempfile
from collections.abc import Iterator
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


def test_agents_see_no_secrets_of_the_labs_environment(lab: Lab) -> None:
    pid = next(one["agent_pid"] for one in lab.client.status()["nodes"] if one["name"] == "node-1")
    assert "SGT_LAB" not in lab.client.exec("node-1", ["cat", f"/proc/{pid}/environ"]).stdout
