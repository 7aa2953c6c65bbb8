import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.netkit.desired import Pod
from egress.node.cni_protocol import (
    MAX_ENV_BYTES,
    Answer,
    CniError,
    error_answer,
    namespace_of,
    parse_call,
    parse_config,
    parse_env,
    parse_head,
    pod_from,
    previous_result,
)

from .rig import ptp_result

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


def refused(call: Callable[[], object]) -> int:
    """Return the code that `call` is refused with, 0 when it isn't."""
    try:
        call()
    except CniError as error:
        return error.code
    return 0


def pod(result: Any, interface: str = "eth0") -> Pod:
    return pod_from(result, namespace="shop", container_id="c1", interface=interface, netns="/run/netns/x")


@given(st.integers(0, MAX_ENV_BYTES), st.integers(0, 1 << 20))
def test_a_head_is_read_as_written(env_bytes: int, stdin_bytes: int) -> None:
    assert parse_head(b"SG1 %d %d\n" % (env_bytes, stdin_bytes)) == (env_bytes, stdin_bytes)


@given(st.binary(max_size=40) | st.from_regex(rb"SG1 [0-9]{0,12} [0-9]{0,12}\n?", fullmatch=True))
def test_any_head_is_read_within_bounds_or_refused_as_garbage(line: bytes) -> None:
    if code := refused(lambda: parse_head(line)):
        assert code == 6
    else:
        env_bytes, stdin_bytes = parse_head(line)
        assert 0 <= env_bytes <= MAX_ENV_BYTES
        assert 0 <= stdin_bytes <= 1 << 20


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="=\0", codec="utf-8"), min_size=1),
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    )
)
def test_an_environment_is_read_as_written(env: dict[str, str]) -> None:
    content = b"\0".join(f"{name}={value}".encode() for name, value in env.items())
    assert parse_env(content) == env


@given(st.binary(max_size=200))
def test_any_environment_is_read_or_refused(content: bytes) -> None:
    assert refused(lambda: parse_env(content)) in (0, 4)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_configuration_is_an_object_or_refused(content: bytes) -> None:
    assert refused(lambda: parse_config(content)) in (0, 6)


@given(
    st.dictionaries(
        st.sampled_from(["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"]), st.text(max_size=20)
    ),
    st.dictionaries(st.sampled_from(["cniVersion", "name", "prevResult"]), JSON),
)
def test_any_call_is_read_or_refused(env: dict[str, str], config: dict[str, Any]) -> None:
    def read(command: str) -> None:
        call = parse_call({**env, "CNI_COMMAND": command}, config)
        assert isinstance(call.network, str)
        assert isinstance(namespace_of(call.arguments), str)
        previous_result(call.config)

    for command in ("ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION", env.get("CNI_COMMAND", "")):
        assert refused(lambda command=command: read(command)) in (0, 1, 4, 7)  # type: ignore[misc]


@given(
    JSON
    | st.fixed_dictionaries(
        {
            "interfaces": st.lists(
                st.fixed_dictionaries({}, optional={"name": JSON, "mac": JSON, "sandbox": JSON}), max_size=4
            )
            | JSON,
            "ips": st.lists(
                st.fixed_dictionaries(
                    {}, optional={"address": st.sampled_from(["10.0.0.1/24", "fd00::1/64"]) | JSON, "interface": JSON}
                ),
                max_size=3,
            )
            | JSON,
        }
    )
)
def test_any_result_gives_a_container_or_is_refused(result: Any) -> None:
    if code := refused(lambda: pod(result)):
        assert code == 7
    else:
        assert pod(result).steerable == bool(pod(result).interface and pod(result).address)


def test_ptp_has_a_host_end_and_no_bridge() -> None:
    found = pod(ptp_result())
    assert (found.interface, found.bridge, found.address, found.mac) == (
        "veth1234",
        "",
        "10.244.1.5",
        "02:00:00:00:00:02",
    )


def test_a_bridge_network_names_the_bridge_first() -> None:
    result = ptp_result()
    result["interfaces"].insert(0, {"name": "cni0", "mac": "02:00:00:00:00:09"})
    result["ips"][0]["interface"] = 2
    assert (pod(result).bridge, pod(result).interface) == ("cni0", "veth1234")


def test_what_later_plugins_add_does_not_confuse() -> None:
    result = ptp_result()
    result["interfaces"] += [{"name": "bwpf00"}, {"name": "eth1", "sandbox": "/run/netns/x"}]
    result["ips"].insert(0, {"address": "10.9.9.9/24", "interface": 3})
    assert (pod(result).interface, pod(result).bridge, pod(result).address) == ("veth1234", "", "10.244.1.5")
    assert pod(result, "eth1").address == "10.9.9.9"


def test_a_second_address_family_is_passed_over() -> None:
    result = ptp_result()
    result["ips"].insert(0, {"address": "fd00::5/64", "interface": 1})
    assert pod(result).address == "10.244.1.5"


def test_calico_tells_only_the_hosts_end() -> None:
    result = {"interfaces": [{"name": "cali12345"}], "ips": [{"version": "4", "address": "10.244.1.5/32"}]}
    assert (pod(result).interface, pod(result).address, pod(result).mac) == ("cali12345", "10.244.1.5", "")


def test_errors_are_in_the_callers_version() -> None:
    answer = json.loads(error_answer(CniError(11, "words", "more"), "0.4.0").output)
    assert answer == {"cniVersion": "0.4.0", "code": 11, "msg": "sluicegate: words", "details": "more"}


@pytest.mark.parametrize("version", [None, 7, {}])
def test_without_a_usable_version_the_latest_is_taken(version: object) -> None:
    assert json.loads(error_answer(CniError(6, "x"), version).output)["cniVersion"] == "1.1.0"


def test_an_answer_is_framed_with_its_size() -> None:
    assert Answer(1, b"{}").frame() == b"SG1 1 2\n{}"
