"""Every parser that meets a network, a disk or the plugin: whatever comes, it is read, or refused in the agreed way.

The kernel is trusted: what netlink and nft answer isn't here. The provider's answers are in unit/provider,
requests for agents' metrics in unit/wire/test_scrape.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egress.cni import plugin
from egress.cni.conflist import ConflistError, conflist_with_plugin, parse_conflist
from egress.gateway import config as gateway_config
from egress.gateway import echo
from egress.gateway.state import Store
from egress.netkit import memory
from egress.node import cni_protocol
from egress.node.config import ConfigError, read_config
from egress.node.containers import parse_entry
from egress.node.pivots import Choice, PivotLog
from egress.node.state import State
from egress.wire import messages, probe
from egress.wire.codec import WireError, decode, encode
from egress.wire.tokens import Tokens
from tests.netns.hostile import frames
from tests.unit.node.rig import ptp_result, route, table

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
FULL = settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))

#: What a JSON parser can be made to yield: also what JSON itself doesn't have.
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([2**63 - 1, 2**63, -1, 10**400]),
    st.floats(), st.text(st.characters(), max_size=20),
    st.sampled_from(["\ud800", "a\0b", '"; drop', "x" * 5_000, "../../etc", "10.0.0.0/255.0.0.0", "010.1.1.1"]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
SHAPES: tuple[bytes, ...] = (
    b"", b"\0", b"{", b"[]", b"null", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000,
    b"NaN", b'{"revision": 1e999}', b'"' + b"\\ud800" * 20 + b'"', "{}".encode("utf-32"), b"{}" + b" " * 300_000,
)  # fmt: skip
BYTES = st.binary(max_size=300) | st.sampled_from(SHAPES)
KINDS = [
    messages.ErrorReply, messages.NodeJoin, messages.NodeJoined, messages.NodeSyncRequest, messages.NodeSync,
    messages.NodeReport, messages.GatewayEnrol, messages.GatewayEnrolled, messages.GatewaySyncRequest,
    messages.GatewaySync, messages.GatewayReport, messages.Done, Tokens, gateway_config.Config,
]  # fmt: skip
WHOLE = {
    messages.NodeJoin: {"name": "w", "private_address": "10.0.0.1", "boot_id": "b", "agent_version": "1"},
    messages.NodeReport: {"boot_id": "b", "agent_version": "1", "dataplane": "ok", "flows": {"g": 1}},
    messages.NodeSync: json.loads(encode(table(route("shop")))),
    messages.GatewaySync: {
        "revision": 1,
        "public_address": "203.0.113.1",
        "vpc": "10.0.0.0/8",
        "clients": ["10.0.0.1"],
    },
    messages.GatewayReport: {"boot_id": "b", "agent_version": "1", "forwarding": True, "flows": 1, "bytes_out": 2},
}


def test_no_message_is_left_out() -> None:
    here = {value for value in vars(messages).values() if isinstance(value, type) and hasattr(value, "__slots__")}
    parts = {messages.ClusterSettings, messages.Probing, messages.Route, messages.RouteGateway, messages.Pivot}
    assert {kind for kind in here if kind.__module__ == messages.__name__} - parts <= set(KINDS)


def bounds_of(hint: Any) -> list[Any]:
    """Return every text, number and collection in `hint` that has no bound."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounded = any(type(rule).__name__ == "Bounds" for rule in args[1:])
        inner = args[0]
        loose = [] if bounded or inner is bool else [hint]
        return loose + [each for part in get_args(inner) if part is not Ellipsis for each in bounds_of(part)]
    return [hint] if hint in {str, int, float} or origin in {tuple, list, dict} else []


@pytest.mark.parametrize("kind", [*KINDS, messages.ClusterSettings, messages.Route, messages.RouteGateway])
def test_every_text_number_and_list_of_a_message_has_bounds(kind: type[Any]) -> None:
    hints = get_type_hints(kind, include_extras=True)
    assert {field.name: loose for field in fields(kind) if (loose := bounds_of(hints[field.name]))} == {}


def decodes(kind: type[Any], body: bytes) -> None:
    refusal = ""
    try:
        message = decode(kind, body)
    except WireError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal) < 1_000
        return
    again = decode(kind, encode(message))
    assert again == message
    # What is taken can be written to a file and to any database.
    assert "\\u0000" not in encode(message).decode()
    json.dumps(encode(message).decode()).encode()


@QUICK
@given(st.sampled_from(KINDS), BYTES)
def test_any_bytes_are_a_message_or_a_wire_error(kind: type[Any], body: bytes) -> None:
    decodes(kind, body)


def mutated(draw: Any, kind: type[Any]) -> bytes:
    whole = dict(WHOLE[kind])
    for name in draw(st.lists(st.sampled_from([*whole, "unknown"]), max_size=3)):
        whole[name] = draw(JSON)
    body = json.dumps(whole).encode()
    if draw(st.booleans()):
        return body
    at = draw(st.integers(0, len(body)))
    return draw(st.sampled_from([body[:at], body[:at] + b"\0" + body[at:], body[:-1] + b"," + body[1:]]))


@st.composite
def mutations(draw: Any) -> tuple[type[Any], bytes]:
    kind = draw(st.sampled_from(list(WHOLE)))
    return kind, mutated(draw, kind)


@QUICK
@given(mutations())
def test_any_change_to_a_message_is_read_or_a_wire_error(case: tuple[type[Any], bytes]) -> None:
    decodes(*case)


@pytest.mark.full
@FULL
@given(mutations())
def test_any_change_to_a_message_is_read_or_a_wire_error_at_length(case: tuple[type[Any], bytes]) -> None:
    decodes(*case)


@pytest.mark.parametrize("value", ["\ud800", "a\0b"])
def test_text_that_a_database_refuses_is_refused_on_the_wire(value: str) -> None:
    body = json.dumps({**WHOLE[messages.NodeReport], "detail": value}).encode()
    with pytest.raises(WireError, match=r"NodeReport\.detail"):
        decode(messages.NodeReport, body)


@pytest.mark.parametrize("value", [-1, 10**18 * 10, True, 1.5, float("nan"), float("inf"), "7", None])
def test_counts_are_whole_numbers_within_a_databases_reach(value: Any) -> None:
    for field, wrong in (("flows", {"g": value}), ("containers", {"shop": value})):
        with pytest.raises(WireError):
            decode(messages.NodeReport, json.dumps({**WHOLE[messages.NodeReport], field: wrong}).encode())
    for field in ("flows", "bytes_out"):
        with pytest.raises(WireError):
            decode(messages.GatewayReport, json.dumps({**WHOLE[messages.GatewayReport], field: value}).encode())


def test_of_two_equal_keys_the_last_counts_for_everybody() -> None:
    body = b'{"applied_revision": 1, "wait_seconds": 0, "wait_seconds": 50}'
    assert decode(messages.GatewaySyncRequest, body).wait_seconds == 50


@pytest.mark.parametrize("network", ["10.0.0.0/255.0.0.0", "10.0.0.0", "10.0.0.0/08", "10.0.0.1/8"])
def test_networks_have_one_form(network: str) -> None:
    with pytest.raises(WireError):
        decode(messages.GatewaySync, json.dumps({**WHOLE[messages.GatewaySync], "vpc": network}).encode())


@pytest.mark.parametrize("token", ["a" * 16 + "\r\nX: y", "a" * 15, "a" * 201, "ü" * 16, " " * 16])
def test_a_token_that_no_header_carries_is_no_token(token: str) -> None:
    with pytest.raises(WireError):
        decode(messages.NodeJoined, json.dumps({"node_id": "n", "token": token}).encode())


def test_no_secret_shows_in_a_messages_repr() -> None:
    shown = [
        messages.NodeJoined(node_id="n", token="canary-" * 4),
        messages.GatewayEnrolled(token="canary-" * 4),
        Tokens(token="canary-" * 4, previous="canary-" * 4),
        *(
            decode(kind, json.dumps({**WHOLE[kind], "credential": "canary", "probe_key": "canary"}).encode())
            for kind in (messages.NodeSync, messages.GatewaySync)
        ),
    ]
    assert "canary" not in repr(shown)


# --- what comes back from the internet -------------------------------------------------------------------------------


@QUICK
@given(st.binary(max_size=120), st.integers(0, 255))
def test_any_packet_is_an_echo_reply_or_nothing(packet: bytes, first: int) -> None:
    for each in (packet, bytes([first]) + packet, b"\x45" + packet[:19].ljust(19, b"\0") + packet):
        answer = echo.read_answer(each)
        assert answer is None or (each[(each[0] & 0xF) * 4] == 0 and each.endswith(answer[1]))


def test_a_question_of_the_gateways_own_is_no_answer_and_bears_a_right_checksum() -> None:
    question = echo.request(b"\xff" * 16, 65_535)
    assert frames.checksum(question) == 0
    packet = frames.ip("203.0.113.7", "1.1.1.1", frames.ICMP, question)
    assert echo.read_answer(packet) is None
    assert echo.read_answer(packet[:20] + b"\0" + packet[21:]) == ("203.0.113.7", b"\xff" * 16)


# --- probes ----------------------------------------------------------------------------------------------------------

KEY, NONCE = b"k" * 32, b"n" * 8


@QUICK
@given(st.binary(max_size=80), st.binary(max_size=40))
def test_a_datagram_without_the_key_is_nothing(datagram: bytes, key: bytes) -> None:
    assert probe.read_request(key, datagram) is None
    assert probe.read_answer(key, datagram) is None


@QUICK
@given(st.integers(0, probe.ANSWER_BYTES - 1), st.integers(1, 255), st.integers(0, 255))
def test_a_datagram_with_one_byte_changed_is_nothing(at: int, change: int, flags: int) -> None:
    answer = bytearray(probe.answer(KEY, NONCE, flags=flags, boot_id="b"))
    answer[at] ^= change
    assert probe.read_answer(KEY, bytes(answer)) is None
    request = bytearray(probe.request(KEY, NONCE))
    request[at % len(request)] ^= change
    assert probe.read_request(KEY, bytes(request)) is None


def test_a_request_is_no_answer_and_neither_is_shortened_or_lengthened() -> None:
    request, answer = probe.request(KEY, NONCE), probe.answer(KEY, NONCE, flags=1, boot_id="b")
    assert probe.read_answer(KEY, request) is None
    assert probe.read_request(KEY, answer) is None
    assert probe.read_request(KEY, request[:-1]) is None
    assert probe.read_answer(KEY, answer + b"\0") is None


# --- the plugin and the runtime --------------------------------------------------------------------------------------


def pod_of(result: Any) -> None:
    try:
        pod = cni_protocol.pod_from(result, namespace="shop", container_id="c", interface="eth0", netns="")
    except cni_protocol.CniError:
        return
    for name in filter(None, (pod.interface, pod.bridge)):
        assert not set(name) & set('"\\*\n \t\0/:'), "goes into a ruleset between quotes"
        assert 1 <= len(name) <= 15
    assert not set(pod.mac) - set("0123456789abcdefABCDEF:")
    os.fsencode(pod.netns)
    # One without an IPv4 address is counted, but not steered.
    if pod.address:
        socket.inet_aton(pod.address)


@st.composite
def results(draw: Any) -> Any:
    result = ptp_result()
    where = draw(st.sampled_from(["interfaces", "ips", "link", "address", "all"]))
    if where == "all":
        return draw(JSON)
    if where in result:
        result[where] = draw(JSON)
    else:
        part = result["interfaces" if where == "link" else "ips"][draw(st.integers(0, 1)) if where == "link" else 0]
        part[draw(st.sampled_from([*part, "sandbox"]))] = draw(JSON)
    return result


@QUICK
@given(results())
def test_any_result_of_another_plugin_is_a_place_or_a_cni_error(result: Any) -> None:
    pod_of(result)


@pytest.mark.full
@FULL
@given(results())
def test_any_result_of_another_plugin_is_a_place_or_a_cni_error_at_length(result: Any) -> None:
    pod_of(result)


@pytest.mark.parametrize("name", ['x"; drop', "a\0b", "veth*", "a\\b", "", "x" * 16, "\ud800", "a b"])
def test_an_interface_that_would_break_out_of_a_ruleset_is_refused(name: str) -> None:
    with pytest.raises(cni_protocol.CniError):
        cni_protocol.pod_from(ptp_result(veth=name), namespace="s", container_id="c", interface="eth0", netns="")


@QUICK
@given(
    BYTES | st.builds(lambda value: json.dumps(value).encode(), JSON),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
)
def test_any_call_is_understood_or_a_cni_error(stdin: bytes, env: dict[str, str]) -> None:
    for command in ("ADD", "DEL", "GC", "VERSION", env.get("", "")):
        with contextlib.suppress(cni_protocol.CniError):
            config = cni_protocol.parse_config(stdin)
            cni_protocol.parse_call({**env, "CNI_COMMAND": command, "CNI_CONTAINERID": "c", "CNI_IFNAME": "e"}, config)


@QUICK
@given(BYTES)
def test_any_frame_is_read_or_a_cni_error(content: bytes) -> None:
    with contextlib.suppress(cni_protocol.CniError):
        sizes = cni_protocol.parse_head(content)
        assert sizes[0] <= cni_protocol.MAX_ENV_BYTES
        assert sizes[1] <= plugin.MAX_BYTES
    with contextlib.suppress(cni_protocol.CniError):
        cni_protocol.parse_env(content)


@st.composite
def cache_entries(draw: Any) -> bytes:
    entry: dict[str, Any] = {
        "kind": "cniCacheV1", "containerId": "c1", "ifName": "eth0", "networkName": "pods", "netns": "/run/netns/x",
        "cniArgs": [["K8S_POD_NAMESPACE", "shop"]], "result": ptp_result(),
    }  # fmt: skip
    entry[draw(st.sampled_from(list(entry)))] = draw(JSON)
    body = json.dumps(entry).encode()
    return body if draw(st.booleans()) else body[: draw(st.integers(0, len(body)))]


@QUICK
@given(cache_entries() | BYTES)
def test_any_file_of_the_runtimes_cache_is_an_attachment_or_passed_over(content: bytes) -> None:
    with contextlib.suppress(ValueError, cni_protocol.CniError):
        attachment = parse_entry(content)
        # All that is done with it next.
        os.fsencode(attachment.pod.netns)
        assert "/" not in "@".join(attachment.key)


@QUICK
@given(BYTES | st.builds(lambda value: json.dumps(value).encode(), JSON))
def test_any_network_configuration_is_chained_or_refused(content: bytes) -> None:
    with contextlib.suppress(ConflistError):
        conflist_with_plugin(parse_conflist(content))


@pytest.fixture(scope="module")
def impostor() -> Iterator[tuple[Path, list[bytes]]]:
    """An agent's socket whose answers the test chooses."""
    with tempfile.TemporaryDirectory(prefix="sgt-") as folder, socket.socket(socket.AF_UNIX) as listening:
        path, answers = Path(folder, "cni.sock"), list[bytes]()
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(answers[-1])
                        connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path, answers
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


FRAMES = st.binary(max_size=100) | st.builds(
    lambda code, size, output: b"SG1 %d %d\n%s" % (code, size, output),
    st.sampled_from([0, 1, 255, 256, -1, 10**30]),
    st.sampled_from([0, 1, 5, -1, 2**20 + 1, 10**30]),
    st.binary(max_size=10),
)


def asked(impostor: tuple[Path, list[bytes]], frame: bytes) -> tuple[int, bytes]:
    """Return what the plugin makes of `frame` as the agent's answer."""
    impostor[1].append(frame)
    opened: list[socket.socket] = []

    def opening(*arguments: int) -> socket.socket:
        opened.append(socket.socket(*arguments))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugin, "SOCKET", str(impostor[0]))
        # It closes nothing, since its process ends.
        patch.setattr(plugin, "socket", opening)
        try:
            return plugin._ask({b"CNI_COMMAND": b"ADD"}, b"{}", 5.0)
        finally:
            for each in opened:
                each.close()


@QUICK
@given(FRAMES)
def test_any_answer_of_the_agents_socket_is_an_exit_code_or_no_answer(
    impostor: tuple[Path, list[bytes]], frame: bytes
) -> None:
    try:
        code, output = asked(impostor, frame)
    except (OSError, ValueError):
        return
    assert 0 <= code <= 255
    assert output in frame


@pytest.mark.parametrize("code", [256, -1, 10**30])
def test_an_exit_code_that_no_process_has_is_no_answer(impostor: tuple[Path, list[bytes]], code: int) -> None:
    with pytest.raises(ValueError, match="garbage"):
        asked(impostor, b"SG1 %d 0\n" % code)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sgt-") as name:
        yield Path(name)


FILES = BYTES | st.builds(lambda value: json.dumps(value).encode(), JSON)


def damage_node(directory: Path, content: bytes) -> None:
    """Damage each file in turn, then all of them: what was listed waits, whatever is left."""
    names = ("routes.json", "credential.json", "namespaces", "verdicts.json")
    for damaged in [(name,) for name in names] + [names]:
        first = State(directory)
        first.save_table(table(route("shop")))
        first.close()
        for name in damaged:
            (directory / name).write_bytes(content)
        second = State(directory)
        second.close()
        assert set(second.verdicts()) <= {"gw"}
        assert second.must_wait("shop"), damaged
        for name in damaged:
            (directory / name).unlink(missing_ok=True)


@QUICK
@given(FILES)
def test_any_file_of_a_nodes_state_is_read_or_done_without_and_opens_nothing(folder: Path, content: bytes) -> None:
    damage_node(folder / "node", content)


@QUICK
@given(FILES)
def test_any_file_of_a_gateways_state_is_read_or_done_without(folder: Path, content: bytes) -> None:
    store = Store(folder / "gateway")
    for name in ("credential.json", "clients.json"):
        (folder / "gateway" / name).write_bytes(content)
    clients = store.clients()
    assert clients is None or isinstance(clients, messages.GatewaySync)
    assert store.credential() is None or isinstance(store.credential(), Tokens)


@QUICK
@given(FILES | st.builds(lambda value: json.dumps({"number": 7, "untold": value}).encode(), JSON))
def test_any_notes_of_pivots_are_read_or_done_without_and_numbers_go_on(folder: Path, content: bytes) -> None:
    path = folder / "pivots.json"
    path.write_bytes(content)
    log = PivotLog(path, lambda: None, lambda: 1e9)
    log.note({1: Choice(gateway="")})
    log.save()
    numbers = [pivot.number for pivot in log.untold()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= 1


PARTS: dict[str, Any] = {"marks": {}, "addresses": {}, "active": [], "earlier": {}, "retired": {}}
MEMORIES = st.builds(lambda key, value: json.dumps({**PARTS, key: value}).encode(), st.sampled_from([*PARTS]), JSON)


def remember(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    memory.load_memory(path)
    memory.load_written(path)


@QUICK
@given(FILES | MEMORIES)
def test_any_file_of_the_data_planes_memory_is_read_or_done_without(folder: Path, content: bytes) -> None:
    remember(folder / "dataplane.json", content)


@pytest.mark.parametrize("content", SHAPES, ids=range(len(SHAPES)))
def test_known_shapes_of_damage_are_all_survived(folder: Path, content: bytes) -> None:
    damage_node(folder / "node", content)
    remember(folder / "dataplane.json", content)
    remember(folder / "dataplane.json", b'{"marks": {}, "addresses": {}, "earlier": {}, "active": [Infinity]}')
    for parse in (parse_entry, parse_conflist, cni_protocol.parse_config):
        with contextlib.suppress(ValueError, cni_protocol.CniError):
            parse(content)


@QUICK
@given(FILES)
def test_any_configuration_is_read_or_a_clear_refusal(folder: Path, content: bytes) -> None:
    path = folder / "agent.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_config(path)
    with contextlib.suppress(gateway_config.ConfigError):
        gateway_config.load_config(path)
