"""Execute chains of CNI plugins the way libcni does (CNI specification 1.0)."""

import base64
import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import LabError
from .netns import inside
from .process import run

Json = dict[str, Any]
INTERFACE = "eth0"
PLUGIN_SECONDS = 30


class CniError(LabError):
    """A plugin refused; `cni_code` is its own code (11: try again later)."""

    code = "cni_error"

    def __init__(self, message: str, cni_code: int) -> None:
        super().__init__(message)
        self.cni_code = cni_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What a runtime tells the plugins about one container. `args` keep their order."""

    container_id: str
    netns: str
    args: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One node's network: the file of its conflist, the folders of plugins, and the runtime's cache of results."""

    place: str
    conflist_file: Path
    plugin_path: Sequence[Path]
    results_dir: Path

    @property
    def conflist(self) -> Json:
        """The configuration list as it stands."""
        conflist: Json = json.loads(self.conflist_file.read_text())
        return conflist

    async def add(self, attachment: Attachment) -> Json:
        """Run ADD through the chain and cache its result. Raises CniError; the caller then runs `delete`."""
        result: Json | None = None
        for plugin in self.conflist["plugins"]:
            result = await self._plugin("ADD", plugin, attachment, result)
        if result is None:
            raise LabError(f"the network {self.conflist['name']} has no plugins that give an address")
        self._cache(attachment, result)
        return result

    async def check(self, attachment: Attachment) -> None:
        """Run CHECK through the chain. Raises CniError when something isn't as ADD left it."""
        cached = self._cached(attachment)
        for plugin in self.conflist["plugins"]:
            await self._plugin("CHECK", plugin, attachment, cached)

    async def delete(self, attachment: Attachment) -> None:
        """Run DEL through the chain in reverse and forget the cached result; may be repeated. Raises CniError."""
        cached = self._cached(attachment)
        for plugin in reversed(self.conflist["plugins"]):
            await self._plugin("DEL", plugin, attachment, cached)
        self._cache_file(attachment).unlink(missing_ok=True)

    async def _plugin(self, command: str, plugin: Json, attachment: Attachment, previous: Json | None) -> Json | None:
        config = {"name": self.conflist["name"], "cniVersion": self.conflist["cniVersion"], **plugin}
        if previous is not None:
            config["prevResult"] = previous
        finished = await run(
            [*inside(self.place), str(self._find(plugin["type"]))],
            stdin=json.dumps(config),
            env=self._environment(command, attachment),
            limit_seconds=PLUGIN_SECONDS,
        )
        if finished.exit:
            raise _error(command, plugin["type"], finished.exit, finished.stdout, finished.stderr)
        return _result(command, plugin["type"], finished.stdout)

    def _environment(self, command: str, attachment: Attachment) -> Mapping[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.args),
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": ":".join(map(str, self.plugin_path)),
        }

    def _find(self, name: str) -> Path:
        for folder in self.plugin_path:
            if (folder / name).is_file():
                return folder / name
        raise LabError(f"there is no CNI plugin {name!r} in {':'.join(map(str, self.plugin_path))}")

    def _cache_file(self, attachment: Attachment) -> Path:
        return self.results_dir / f"{self.conflist['name']}-{attachment.container_id}-{INTERFACE}"

    def _cache(self, attachment: Attachment, result: Json) -> None:
        entry = {
            "kind": "cniCacheV1",
            "containerId": attachment.container_id,
            "config": base64.b64encode(json.dumps(self.conflist).encode()).decode(),
            "ifName": INTERFACE,
            "networkName": self.conflist["name"],
            "netns": attachment.netns,
            "cniArgs": [list(pair) for pair in attachment.args],
            "result": result,
        }
        self.results_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # libcni writes in place too: readers must bear a half-written entry.
        self._cache_file(attachment).write_text(json.dumps(entry))

    def _cached(self, attachment: Attachment) -> Json | None:
        with contextlib.suppress(FileNotFoundError):
            result: Json = json.loads(self._cache_file(attachment).read_text())["result"]
            return result
        return None


def _result(command: str, plugin: str, stdout: bytes) -> Json | None:
    if command != "ADD":
        return None
    try:
        result = json.loads(stdout)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise CniError(f"the CNI plugin {plugin} answered ADD with something that isn't a result", 6)
    return result


def _error(command: str, plugin: str, code: int, stdout: bytes, stderr: bytes) -> CniError:
    try:
        said = json.loads(stdout)
        words = f"{said['msg']} {said.get('details', '')}".strip()
        return CniError(
            f"the CNI plugin {plugin} refused {command}: {words[:1000]} (code {said['code']})", said["code"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        words = (stderr or stdout).decode(errors="replace").strip()[-1000:]
        return CniError(f"the CNI plugin {plugin} failed at {command} with exit code {code}: {words}", 0)
