"""The plugin as a runtime executes it: environment and standard input, with and without the agent."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.node.rig import Node, StandIn, net_config, ptp_result, route, table, wait_for

#: What a start may wait for an agent that doesn't answer, with room for a slow machine.
SHORT_SECONDS = 1.5
LONG_SECONDS = 4.5


@pytest.fixture
def running(node: Node, control_plane: StandIn) -> Node:
    """A node with its agent, on which only "shop" has dedicated egress."""
    control_plane.table = table(route("shop"))
    node.start()
    wait_for(lambda: node.wish["routes"] == {"shop": "active"}, "the routes are applied")
    return node


@pytest.fixture(scope="module")
def shared() -> Iterator[Node]:
    """The same, for tests that change nothing."""
    with tempfile.TemporaryDirectory(prefix="sgt-") as directory:
        control_plane = StandIn(Path(directory), table=table(route("shop")))
        control_plane.start()
        node = Node(Path(directory, "node"), f"https://localhost:{control_plane.port}", control_plane.ca_file)
        try:
            node.start()
            wait_for(lambda: node.wish["routes"] == {"shop": "active"}, "the routes are applied")
            yield node
        finally:
            if node.agent is not None:
                node.stop()
            control_plane.stop()


# --- with the agent ---


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_add_echoes_the_previous_result(running: Node, version: str) -> None:
    result = {
        **ptp_result(),
        "cniVersion": version,
        "dns": {"search": ["ünïcode", "\ud800"]},
        "odd": [1.5, 2**70, None],
    }
    added = running.call("ADD", net_config(result, cniVersion=version))
    assert (added.code, added.json) == (0, result)


def test_add_returns_after_the_rules_are_in_place(running: Node) -> None:
    running.record_file.with_suffix(".slow").write_text("0.5")
    assert running.call("ADD", net_config(ptp_result())).code == 0
    assert (running.wish["call"], running.wish["address"]) == ("pod_added", "10.244.1.5")


def test_an_agent_that_is_slow_but_alive_gets_the_time_it_needs_for_a_listed_namespace(running: Node) -> None:
    running.record_file.with_suffix(".slow").write_text("1")
    assert running.call("ADD", net_config(ptp_result())).code == 0
    other = running.call("ADD", net_config(ptp_result("10.244.1.6")), namespace="docs", container="c2")
    assert other.code == 0
    assert other.seconds < SHORT_SECONDS


def test_check_tells_whether_the_container_is_as_added(running: Node) -> None:
    running.call("ADD", net_config(ptp_result()))
    assert running.call("CHECK", net_config(ptp_result())).code == 0
    other = running.call("CHECK", net_config(ptp_result("10.244.1.77")))
    assert (other.code, other.json["code"]) == (1, 101)
    assert "10.244.1.5 here, not 10.244.1.77" in other.json["msg"]
    assert running.call("CHECK", net_config(ptp_result()), container="unknown").json["code"] == 101


def test_del_may_be_repeated_and_needs_neither_namespace_nor_result(running: Node) -> None:
    running.call("ADD", net_config(ptp_result()))
    for _ in range(3):
        deleted = running.call("DEL", net_config(), netns="")
        assert (deleted.code, deleted.output) == (0, b"")
    assert [call["address"] for call in running.record if call["call"] == "pod_removed"] == ["10.244.1.5"]


def test_del_of_a_container_never_added_succeeds_and_cleans_its_address(running: Node) -> None:
    assert running.call("DEL", net_config(ptp_result("10.244.1.9"))).code == 0
    assert running.wish["address"] == "10.244.1.9"


def test_a_late_del_does_not_touch_who_has_the_address_now(running: Node) -> None:
    running.call("ADD", net_config(ptp_result()), container="old")
    running.call("ADD", net_config(ptp_result(veth="veth5678")), container="new")
    running.call("DEL", net_config(ptp_result()), container="old")
    assert not [call for call in running.record if call["call"] == "pod_removed"]
    assert running.wish["pods"]["10.244.1.5"]["container_id"] == "new"


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_forgets_what_is_not_in_the_list_of_its_own_network(running: Node, key: str) -> None:
    for number in (1, 2):
        running.call("ADD", net_config(ptp_result(f"10.244.1.{number}")), container=f"c{number}")
    running.call("ADD", net_config(ptp_result("10.244.1.3"), name="elsewhere"), container="c3")
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    collected = running.call("GC", net_config(None, **{key: valid}), args="", container="", netns="")
    assert (collected.code, collected.output) == (0, b"")
    assert [call["address"] for call in running.record if call["call"] == "pod_removed"] == ["10.244.1.2"]


@pytest.mark.parametrize("valid", [None, {}, [{"containerID": "c1"}], ["c1"]])
def test_gc_without_a_proper_list_forgets_nothing(running: Node, valid: object) -> None:
    running.call("ADD", net_config(ptp_result()))
    more = {} if valid is None else {"cni.dev/valid-attachments": valid}
    assert running.call("GC", net_config(None, **more), args="").json["code"] == 7
    assert running.call("CHECK", net_config(ptp_result())).code == 0


def test_podman_names_only_the_container(running: Node) -> None:
    running.call("ADD", net_config(ptp_result()), args="IgnoreUnknown=1;K8S_POD_NAME=shop")
    assert running.wish["pods"]["10.244.1.5"]["namespace"] == "shop"


def test_arguments_come_in_any_order(running: Node) -> None:
    running.call("ADD", net_config(ptp_result()), args="K8S_POD_NAMESPACE=shop;K8S_POD_NAME=p;IgnoreUnknown=1;odd;=;")
    assert running.wish["pods"]["10.244.1.5"]["namespace"] == "shop"


@pytest.mark.parametrize(
    ("config", "env", "code", "words"),
    [
        (net_config(), {}, 7, "no prevResult: put sluicegate after"),
        (net_config({"ips": 7}), {}, 7, "isn't a CNI result"),
        (net_config({"ips": [{"address": "nonsense"}]}), {}, 7, "isn't a CNI result"),
        (net_config({"interfaces": ptp_result()["interfaces"]}), {}, 100, "no IPv4 address"),
        (
            net_config({"interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.0.0.1/24"}]}),
            {},
            100,
            "no interface on the host",
        ),
        (net_config(ptp_result(), cniVersion="2.0.0"), {}, 1, "cniVersion is '2.0.0'"),
        (net_config(ptp_result(), cniVersion="0.2.0"), {}, 1, "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        (b"{nonsense", {}, 6, "isn't JSON"),
        (b"", {}, 6, "isn't JSON"),
        (b"[]", {}, 6, "isn't a JSON object"),
        (b"[" * 100_000, {}, 6, "isn't JSON"),
        (b" " * (1 << 20) + b"{}", {}, 6, "larger than 1048576 bytes"),
        (net_config(ptp_result()), {"CNI_CONTAINERID": ""}, 4, "CNI_CONTAINERID"),
        (net_config(ptp_result()), {"CNI_CONTAINERID": "../../x"}, 4, "CNI_CONTAINERID"),
        (net_config(ptp_result()), {"CNI_IFNAME": "a/b"}, 4, "CNI_IFNAME"),
        (net_config(ptp_result()), {"CNI_NETNS": ""}, 4, "CNI_NETNS is missing"),
        (net_config(ptp_result()), {"CNI_COMMAND": "FROB"}, 4, "'FROB', which is no command"),
    ],
)
def test_mistakes_get_the_specifications_codes_and_change_nothing(
    shared: Node, config: object, env: dict[str, str], code: int, words: str
) -> None:
    refused = shared.call("ADD", config, env=env)  # type: ignore[arg-type]
    assert refused.code == 1
    answer = refused.json
    assert set(answer) == {"cniVersion", "code", "msg", "details"}
    assert (answer["code"], words in answer["msg"]) == (code, True), answer
    assert shared.wish["pods"] == {}


def test_an_unknown_kind_of_network_stops_only_who_needs_it(running: Node) -> None:
    result = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": "/x"}],
        "ips": [{"address": "10.0.0.1/24"}],
    }
    assert running.call("ADD", net_config(result), namespace="docs").json == result


# --- without the agent ---


@contextlib.contextmanager
def frozen(node: Node) -> Iterator[None]:
    node.send(signal.SIGSTOP)
    try:
        yield
    finally:
        node.send(signal.SIGCONT)


@pytest.fixture(params=["absent", "dead", "frozen", "full", "mute", "garbage", "cut"])
def silent(request: pytest.FixtureRequest, node: Node) -> Iterator[Node]:
    """A node whose agent gives no answer, in every way that one can."""
    node.list_namespaces(["shop", "other"])
    path = node.run_dir / "cni.sock"
    if request.param == "absent":
        yield node
        return
    node.run_dir.mkdir(exist_ok=True)
    if request.param == "frozen":
        node.start()
        with frozen(node):
            yield node
        return
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as held:
        listening.bind(str(path))
        if request.param != "dead":
            listening.listen(0)
        if request.param == "full":
            for _ in range(3):
                client = held.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(str(path))
        if request.param in ("garbage", "cut"):
            answer = b"HTTP/1.1 400 Bad Request\r\n\r\n" if request.param == "garbage" else b"SG1 0 500\n{"
            threading.Thread(target=speak, args=(listening, answer), daemon=True).start()
        yield node
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def speak(listening: socket.socket, answer: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 20)
                connection.sendall(answer)


def test_unlisted_namespaces_start_without_the_agent_at_once(silent: Node) -> None:
    for namespace in ("docs", "sho", "shop2", None):
        added = silent.call("ADD", net_config(ptp_result()), namespace=namespace)
        assert (added.code, added.json) == (0, ptp_result())
        assert added.seconds < SHORT_SECONDS
    assert silent.call("CHECK", net_config(ptp_result()), namespace="docs").code == 0


def test_listed_namespaces_are_told_to_try_again(silent: Node) -> None:
    added = silent.call("ADD", net_config(ptp_result()), namespace="shop")
    assert (added.code, added.json["code"]) == (1, 11)
    assert "the namespace shop has dedicated egress" in added.json["msg"]


def test_del_gc_and_status_succeed_at_once(silent: Node) -> None:
    for command in ("DEL", "GC", "STATUS"):
        called = silent.call(command, net_config(), namespace="shop")
        assert (called.code, called.output) == (0, b"")
        assert called.seconds < SHORT_SECONDS


def test_version_needs_no_agent(silent: Node) -> None:
    called = silent.call("VERSION", {"cniVersion": "0.4.0"}, netns="dummy", container="dummy")
    assert called.json == {"cniVersion": "0.4.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]}
    assert called.seconds < SHORT_SECONDS


def test_mistakes_are_still_told(silent: Node) -> None:
    assert silent.call("ADD", net_config(), namespace="docs").json["code"] == 7
    assert silent.call("ADD", b"nonsense", namespace="docs").json["code"] == 6
    assert silent.call("FROB", net_config()).json["code"] == 4


def test_without_a_list_everything_with_a_name_is_held_back(node: Node) -> None:
    refused = node.call("ADD", net_config(ptp_result()), namespace="docs").json
    assert refused["code"] == 11
    assert f"without its list {node.state_dir}/namespaces" in refused["msg"]
    assert "start the agent" in refused["msg"]
    assert node.call("DEL", net_config(), namespace="docs").code == 0


def test_without_a_list_what_has_no_name_passes(node: Node) -> None:
    assert node.call("ADD", net_config(ptp_result()), namespace=None).json == ptp_result()


def test_an_agent_without_routes_holds_everything_back_until_its_first_sync(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table()
    control_plane.stop()
    node.start()
    refused = node.call("ADD", net_config(ptp_result()), namespace="docs")
    assert (refused.json["code"], refused.json["details"]) == (11, "the node has no routes yet")
    assert node.call("ADD", net_config(ptp_result()), namespace=None).code == 0
    control_plane.start()
    wait_for((node.state_dir / "namespaces").exists, "the first sync leaves a list, though it names nobody")
    assert node.call("ADD", net_config(ptp_result()), namespace="docs").json == ptp_result()
    node.stop()
    assert node.call("ADD", net_config(ptp_result()), namespace="docs", container="c2").json == ptp_result()


def test_an_add_that_waits_for_the_first_sync_goes_on_with_it(node: Node, control_plane: StandIn) -> None:
    control_plane.table = table(route("shop"))
    control_plane.stop()
    node.start()
    timer = threading.Timer(0.5, control_plane.start)
    timer.start()
    added = node.call("ADD", net_config(ptp_result()))
    timer.join()
    # On a slow machine the sync may come after the wait: what counts is that none starts before.
    assert added.code == 0 or added.json["code"] == 11
    wait_for(lambda: node.wish["routes"] == {"shop": "active"}, "the routes are applied")
    assert node.call("ADD", net_config(ptp_result())).code == 0
    assert node.wish["pods"]["10.244.1.5"]["namespace"] == "shop"


@pytest.mark.parametrize("content", [b"", b"garbage", b"shop\n"])
def test_a_damaged_list_holds_everything_back(node: Node, content: bytes) -> None:
    node.list_namespaces([])
    (node.state_dir / "namespaces").write_bytes(content)
    refused = node.call("ADD", net_config(ptp_result()), namespace="docs").json
    assert (refused["code"], "list of namespaces is damaged" in refused["msg"]) == (11, True)


def test_a_list_that_cannot_be_read_holds_everything_back(node: Node) -> None:
    (node.state_dir / "namespaces").mkdir(parents=True)
    assert node.call("ADD", net_config(ptp_result()), namespace="docs").json["code"] == 11


def test_a_thawed_agent_looks_at_once_who_started_meanwhile(running: Node, own_netns: str) -> None:
    """It looks into the runtime's notes: its queue tells only what was asked, not what came of it."""
    gone = ptp_result("10.244.1.5")
    with frozen(running):
        assert running.call("ADD", net_config(gone), namespace="docs", container="gone").code == 0
        running.call("DEL", net_config(gone), namespace="docs", container="gone")
        here = ptp_result("127.0.0.1", netns=own_netns)
        assert running.call("ADD", net_config(here), namespace="docs", netns=own_netns).code == 0
        entry = {"kind": "cniCacheV1", "containerId": "c1", "ifName": "eth0", "networkName": "pods", "result": here}
        entry |= {"netns": own_netns, "cniArgs": [["K8S_POD_NAMESPACE", "docs"]]}
        (running.cache_dir / "pods-c1-eth0").write_text(json.dumps(entry))
    wait_for(lambda: running.wish["pods"].keys() == {"127.0.0.1"}, "it knows the one that is there")
    assert "CNI ADD of gone came too late" in running.log
    assert all("10.244.1.5" not in each.get("pods", {}) for each in running.record)


def test_an_enabled_container_starts_when_the_agent_thaws_in_time(running: Node) -> None:
    with frozen(running):
        timer = threading.Timer(0.7, running.send, [signal.SIGCONT])
        timer.start()
        added = running.call("ADD", net_config(ptp_result()))
        timer.join()
    assert added.code == 0
    assert running.wish["address"] == "10.244.1.5"


def test_a_list_of_many_thousands_costs_next_to_nothing(node: Node) -> None:
    node.list_namespaces([f"some-namespace-with-a-long-name-{number}" for number in range(20_000)] + ["last"])
    assert node.call("ADD", net_config(ptp_result()), namespace="last").json["code"] == 11
    assert node.call("ADD", net_config(ptp_result()), namespace="some-namespace-with-a-long-name-").code == 0


def test_standard_input_that_never_ends_is_given_up(node: Node) -> None:
    """The limit is lowered in the installed file: nobody wants to wait for 20 s."""
    node.plugin.write_text(node.plugin.read_text().replace("LIMIT_SECONDS = 20", "LIMIT_SECONDS = 1"))
    with subprocess.Popen(
        [str(node.plugin)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"CNI_COMMAND": "ADD", "PATH": os.defpath},
    ) as process:
        assert process.stdout
        answer = json.loads(process.stdout.read())
    assert (process.returncode, answer["code"]) == (1, 11)
    assert "pipe stuck" in answer["msg"]
