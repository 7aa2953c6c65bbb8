"""Execute the node's own CNI network as a container runtime does, without our plugin; blocking."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egress.cni.conflist import NAME, ConflistError, conflist_with_plugin, parse_conflist

INTERFACE = "eth0"
#: One execution of one plugin.
PLUGIN_SECONDS = 10.0
MAX_CONFLIST_BYTES = 1024 * 1024
MAX_CONFLISTS = 100


class ChainError(Exception):
    """The network's plugins can't be executed; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Network:
    """A configuration list as it stands on disk; `digest` names its content."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...] = field(repr=False)
    digest: str


def read_network(directory: Path) -> Network:
    """Return the network of this node's containers: the one that our plugin is chained into, else the first by name.

    That is the one that containerd and CRI-O take. Raises ChainError where there is none that the plugin works in.
    """
    try:
        paths = sorted(directory.glob("*.conflist"))[:MAX_CONFLISTS]
        found = [(path, _content(path)) for path in paths]
    except OSError as error:
        raise ChainError(f"{error.filename}: can't be read: {error.strerror}") from None
    if not found:
        raise ChainError(f"{directory} holds no network yet (*.conflist)")
    path, content = next((each for each in found if f'"{NAME}"'.encode() in each[1]), found[0])
    try:
        conflist = conflist_with_plugin(parse_conflist(content))
    except ConflistError as error:
        raise ChainError(f"{path}: {error}") from None
    others = tuple(plugin for plugin in conflist["plugins"] if plugin["type"] != NAME)
    # Whether our plugin is in it or not says nothing of the network.
    digest = hashlib.sha256(json.dumps([conflist["name"], others], sort_keys=True).encode()).hexdigest()
    return Network(conflist["name"], conflist["cniVersion"], others, digest)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_CONFLIST_BYTES)


@dataclass(frozen=True, slots=True)
class Attachment:
    """The container that the plugins are told of; `netns` is "" where it has none any more."""

    container_id: str
    netns: str = ""


class Chain:
    """The plugins of `network`, looked for in `folders`."""

    def __init__(self, network: Network, folders: Sequence[str]) -> None:
        self._network = network
        self._folders = folders

    def add(self, attachment: Attachment) -> Mapping[str, Any]:
        """Run ADD through the chain and return its result. Raises ChainError; the caller then runs `delete`."""
        result: Mapping[str, Any] | None = None
        for plugin in self._network.plugins:
            printed = self._run("ADD", plugin, attachment, result)
            try:
                result = json.loads(printed)
            except ValueError:
                result = None
            if not isinstance(result, dict):
                raise ChainError(f"the plugin {plugin['type']} of {self._network.name} answered ADD with no result")
        assert result is not None  # a network has plugins
        return result

    def delete(self, attachment: Attachment, result: Mapping[str, Any] | None = None) -> None:
        """Run DEL through the chain in reverse, all of it; may be repeated. Raises the first ChainError."""
        failures = []
        for plugin in reversed(self._network.plugins):
            try:
                self._run("DEL", plugin, attachment, result)
            except ChainError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _run(
        self, command: str, plugin: Mapping[str, Any], attachment: Attachment, previous: Mapping[str, Any] | None
    ) -> bytes:
        config = {**plugin, "cniVersion": self._network.version, "name": self._network.name}
        if previous is not None:
            config["prevResult"] = previous
        what = f"the plugin {plugin['type']} of {self._network.name}"
        try:
            done = subprocess.run(
                [self._find(plugin["type"])],
                input=json.dumps(config).encode(),
                env=self._environment(command, attachment),
                capture_output=True,
                timeout=PLUGIN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ChainError(f"{what} wasn't done with {command} after {PLUGIN_SECONDS:g} s") from None
        except OSError as error:
            raise ChainError(f"{what} can't be executed: {error.strerror}") from None
        if done.returncode:
            raise ChainError(f"{what} refused {command}: {_words(done.stdout or done.stderr)}")
        return done.stdout

    def _environment(self, command: str, attachment: Attachment) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            # No names of Kubernetes: some plugins would look for a pod of that name.
            "CNI_ARGS": "IgnoreUnknown=1",
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": ":".join(self._folders),
        }

    def _find(self, kind: str) -> str:
        for folder in self._folders:
            path = Path(folder, kind)
            if path.is_file():
                return str(path)
        raise ChainError(
            f"there is no plugin {kind} in {' or '.join(self._folders)}: name its folder in cni_bin_dirs of the "
            "agent's configuration"
        )


def _words(printed: bytes) -> str:
    """Return what a failed plugin says: the words of CNI's error, else the end of what it printed."""
    try:
        said = json.loads(printed)
        return f"{said['msg']} {said.get('details', '')}".strip()[:300]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return printed.decode(errors="replace").strip()[-300:] or "it said nothing"
