"""What each CNI command does on this node."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from egress.cni import plugin
from egress.netkit.desired import Pod

from . import canary
from .cni_protocol import (
    BAD_CONFIG,
    NOT_AS_ADDED,
    TRY_LATER,
    UNSUPPORTED_NETWORK,
    Answer,
    Call,
    CniError,
    error_answer,
    namespace_of,
    parse_call,
    parse_config,
    pod_from,
    previous_result,
)
from .containers import Attachment, Containers, Key
from .network import NetworkCheck

log = logging.getLogger(__name__)
MAX_ATTACHMENTS = 10_000


class Rules(Protocol):
    """What the commands ask of whoever keeps the packets' rules."""

    def must_wait(self, namespace: str) -> bool:
        """Return whether a container of `namespace` must not start without its rules."""

    async def pod_added(self, pod: Pod) -> None:
        """Return when the rules for `pod` are in place; raise CniError when they can't be and must be."""

    async def pod_removed(self, address: str) -> None:
        """Return when the rules for `address` are gone, or the attempt has failed and is in the log."""


class Commands:
    """Answer the plugin's calls."""

    def __init__(self, containers: Containers, rules: Rules, network: NetworkCheck) -> None:
        self._containers = containers
        self._rules = rules
        self._network = network
        self._by_name = {
            "ADD": self._add,
            "CHECK": self._check,
            "DEL": self._del,
            "GC": self._gc,
            "STATUS": self._status,
        }

    async def answer(self, env: Mapping[str, str], stdin: bytes) -> Answer:
        """Return the answer to one execution of the plugin; errors too are answers."""
        version: object = None
        try:
            config = parse_config(stdin) if stdin.strip() or env.get("CNI_COMMAND") != "VERSION" else {}
            version = config.get("cniVersion")
            call = parse_call(env, config)
            if call.command == "VERSION":
                return _json({"cniVersion": version or plugin.VERSIONS[-1], "supportedVersions": plugin.VERSIONS})
            try:
                return await self._by_name[call.command](call)
            except OSError as error:
                return self._despite(error, call)
        except CniError as error:
            log.warning("CNI %s of %s: %s", env.get("CNI_COMMAND"), env.get("CNI_CONTAINERID", "?")[:128], error)
            return error_answer(error, version)

    def _despite(self, error: OSError, call: Call) -> Answer:
        """Return the answer to `call` where the agent's own disk failed it: that is no other app's trouble."""
        log.error("CNI %s of %s: %s", call.command, call.container_id, error)
        if call.command in {"ADD", "CHECK"} and self._rules.must_wait(namespace_of(call.arguments)):
            raise CniError(TRY_LATER, "the node agent can't take note of the container", str(error)) from None
        return _json(previous_result(call.config)) if call.command == "ADD" else Answer()

    async def _add(self, call: Call) -> Answer:
        result = previous_result(call.config)
        namespace = namespace_of(call.arguments)
        try:
            pod = pod_from(
                result,
                namespace=namespace,
                container_id=call.container_id,
                interface=call.interface,
                netns=call.netns,
            )
        except CniError:
            if self._rules.must_wait(namespace):
                raise
            log.warning("container %s of %s is on a network of an unknown kind", call.container_id, namespace)
            return _json(result)
        pod = _visible(pod)
        if self._rules.must_wait(namespace):
            await self._permit(pod)
        else:
            await self._network.came(pod.container_id)
        self._containers.add(Attachment(call.interface, call.network, pod), result)
        await self._rules.pod_added(pod)
        log.info("container %s of %s added: %s on %s", pod.container_id, namespace, pod.address, pod.interface or "?")
        return _json(result)

    async def _permit(self, pod: Pod) -> None:
        """Return when `pod`, which must not start without its rules, may start; else raise CniError."""
        if reason := canary.unfit(pod):
            message = f"{pod.namespace} has dedicated egress, which its network can't carry: {reason}"
            raise CniError(UNSUPPORTED_NETWORK, message)
        await self._network.permit(pod.container_id, pod.namespace)

    async def _check(self, call: Call) -> Answer:
        result = previous_result(call.config)
        known = self._containers.get((call.container_id, call.interface))
        if known is None:
            raise CniError(NOT_AS_ADDED, f"container {call.container_id} isn't known here", "DEL it and ADD it again")
        pod = pod_from(
            result,
            namespace=known.pod.namespace,
            container_id=call.container_id,
            interface=call.interface,
            netns=call.netns,
        )
        if pod.address != known.pod.address:
            raise CniError(
                NOT_AS_ADDED, f"container {call.container_id} has {known.pod.address} here, not {pod.address}"
            )
        return Answer()

    async def _del(self, call: Call) -> Answer:
        await self._forget((call.container_id, call.interface), self._address_told(call))
        return Answer()

    async def _gc(self, call: Call) -> Answer:
        valid = _valid_attachments(call.config)
        for key in self._containers.of_network(call.network):
            if key not in valid:
                await self._forget(key)
        return Answer()

    async def _status(self, _call: Call) -> Answer:
        # Nothing of ours makes a whole node unfit to start containers.
        return Answer()

    async def _forget(self, key: Key, told: str = "") -> None:
        attachment = self._containers.remove(key)
        address = attachment.pod.address if attachment else told
        # A late DEL must not take the address from the container that has it now.
        if address and address not in self._containers.pods:
            await self._rules.pod_removed(address)
        if attachment:
            log.info("container %s of %s removed: %s", key[0], attachment.pod.namespace, address)

    @staticmethod
    def _address_told(call: Call) -> str:
        """Return the address that a DEL names; "" when it names none, which it needn't."""
        try:
            result = previous_result(call.config)
            return pod_from(
                result, namespace="", container_id=call.container_id, interface=call.interface, netns=call.netns
            ).address
        except CniError:
            return ""


def _visible(pod: Pod) -> Pod:
    """Drop a path of the runtime's own mount namespace, which says nothing here: the host's interface does."""
    return pod if Path(pod.netns).exists() else replace(pod, netns="")


def _valid_attachments(config: Mapping[str, Any]) -> set[Key]:
    """Return the attachments that GC says are alive; both of the key's spellings are in use."""
    listed = config.get("cni.dev/valid-attachments", config.get("cni.dev/attachments"))
    # A missing list isn't an empty one: that would forget every container.
    if not isinstance(listed, list) or len(listed) > MAX_ATTACHMENTS:
        raise CniError(BAD_CONFIG, f"GC needs cni.dev/valid-attachments, a list of up to {MAX_ATTACHMENTS}")
    try:
        return {(str(item["containerID"]), str(item["ifname"])) for item in listed}
    except (TypeError, KeyError) as error:
        raise CniError(BAD_CONFIG, "cni.dev/valid-attachments needs containerID and ifname", repr(error)) from None


def _json(content: Mapping[str, Any]) -> Answer:
    return Answer(0, json.dumps(content, separators=(",", ":")).encode())
