"""A node as a network namespace, with a real chain of Debian's plugins and ours, executed as libcni does.

sgt-…-n: lo (control plane), the agent ── ptp: veth ─┬─ sgt-…-c1
                                      ── bridge sgt0 ─ veth ─ sgt-…-c2
"""

import base64
import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from egress.cni.install import conflist_with_plugin
from tests.machine import no_namespaces
from tests.unit.node.conftest import folder
from tests.unit.node.rig import Node, StandIn, route, table, wait_for

__all__ = ["folder"]

DEBIAN = Path("/usr/lib/cni")
NETNS = Path("/run/netns")
MAIN = {
    "ptp": {"type": "ptp", "ipMasq": False},
    "bridge": {"type": "bridge", "bridge": "sgt0", "isGateway": True},
}


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class ChainError(Exception):
    """A plugin refused; `answer` is what it printed."""

    def __init__(self, plugin: str, answer: dict[str, Any]) -> None:
        super().__init__(f"{plugin}: {answer}")
        self.answer = answer


@dataclass
class Runtime:
    """A container runtime on one node: conflist, result cache, containers that are network namespaces."""

    node: Node
    control_plane: StandIn
    conflist: dict[str, Any]
    prefix: str
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    made: list[str] = field(default_factory=list)

    def container(self) -> str:
        name = f"{self.prefix}-c{next(self.ids)}"
        ip("netns", "add", name)
        self.made.append(name)
        return name

    def run(self, command: str, name: str, *, namespace: str = "shop", previous: Any = None) -> Any:
        plugins = self.conflist["plugins"]
        for plugin in plugins if command != "DEL" else reversed(plugins):
            config = {"cniVersion": self.conflist["cniVersion"], "name": self.conflist["name"], **plugin}
            if previous is not None:
                config["prevResult"] = previous
            output = self._execute(command, plugin["type"], config, name, namespace)
            previous = json.loads(output) if command == "ADD" else previous
        return previous

    def add(self, name: str, *, namespace: str = "shop", cache: bool = True) -> Any:
        result = self.run("ADD", name, namespace=namespace)
        if cache:
            self.cache(name, namespace, result)
        return result

    def cache(self, name: str, namespace: str, result: Any) -> None:
        """Write what libcni writes after ADD; before version 1.2 without "netns"."""
        entry = {
            "kind": "cniCacheV1",
            "containerId": name,
            "config": base64.b64encode(json.dumps(self.conflist).encode()).decode(),
            "ifName": "eth0",
            "networkName": self.conflist["name"],
            "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", "pod"]],
            "result": result,
        }
        (self.node.cache_dir / f"{self.conflist['name']}-{name}-eth0").write_text(json.dumps(entry))

    def install(self) -> None:
        """Write the network's configuration where the agent looks for it, as an operator does."""
        self.node.conf_dir.mkdir(exist_ok=True)
        (self.node.conf_dir / "10-pods.conflist").write_text(json.dumps(self.conflist))

    @property
    def leases(self) -> list[str]:
        """The addresses that are given out."""
        folder = Path(self.conflist["plugins"][0]["ipam"]["dataDir"], "pods")
        return sorted(path.name for path in folder.glob("10.*")) if folder.exists() else []

    def _execute(self, command: str, kind: str, config: dict[str, Any], name: str, namespace: str) -> bytes:
        executable = next(path for path in (self.node.plugin.parent / kind, DEBIAN / kind) if path.exists())
        done = subprocess.run(
            ["nsenter", f"--net={self.node.netns}", str(executable)],
            input=json.dumps(config).encode(),
            env={
                "PATH": os.environ["PATH"],
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": name,
                "CNI_NETNS": str(NETNS / name),
                "CNI_IFNAME": "eth0",
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=pod",
                "CNI_PATH": f"{self.node.plugin.parent}:{DEBIAN}",
            },
            capture_output=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise ChainError(kind, json.loads(done.stdout))
        return done.stdout


@pytest.fixture(params=["ptp", "bridge"])
def runtime(request: pytest.FixtureRequest, folder: Path) -> Iterator[Runtime]:
    """A node with its control plane; "shop" has dedicated egress. The agent isn't started."""
    if reason := no_namespaces():
        pytest.skip(reason)
    if not (DEBIAN / "bridge").exists():
        pytest.skip("Debian's containernetworking-plugins aren't installed")
    prefix = f"sgt-{os.getpid()}"
    ip("netns", "add", f"{prefix}-n")
    made: list[str] = [f"{prefix}-n"]
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: [ip("netns", "delete", name) for name in made if (NETNS / name).exists()])
        ip("-n", f"{prefix}-n", "link", "set", "lo", "up")
        control_plane = StandIn(folder, table=table(route("shop")), netns=str(NETNS / f"{prefix}-n"))
        control_plane.start()
        cleanup.callback(control_plane.stop)
        node = Node(
            folder / "node",
            f"https://localhost:{control_plane.port}",
            control_plane.ca_file,
            netns=str(NETNS / f"{prefix}-n"),
        )
        cleanup.callback(lambda: node.agent and node.stop())
        number = {"ptp": 1, "bridge": 2}[request.param]
        ipam = {"type": "host-local", "subnet": f"10.244.{number}.0/24", "dataDir": str(folder / "ipam")}
        main = {**MAIN[request.param], "ipam": ipam}
        conflist = conflist_with_plugin({"cniVersion": "1.0.0", "name": "pods", "plugins": [main, {"type": "portmap"}]})
        yield Runtime(node, control_plane, conflist, prefix, made=made)


@pytest.fixture
def started(runtime: Runtime) -> Runtime:
    """The same with its agent in sync."""
    runtime.node.start()
    wait_for(lambda: runtime.node.wish["routes"] == {"shop": "active"}, "the routes are applied")
    return runtime
