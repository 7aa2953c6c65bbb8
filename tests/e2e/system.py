"""All of Sluicegate on this machine, with the handles that the end-to-end tests need."""

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from egress.lab.client import LabClient, LabError
from portal.demo.stack import NODES, Stack

NODE_NAMES = tuple(node.name for node in NODES)
#: Addresses that the nodes' containers share.
SHARED = {node.public_address for node in NODES}
CONTROL_PLANE = ("agents", "web", "scheduler", "worker", "redis")
#: What gateways ask by themselves: pings to the targets that clusters have by default.
ASKED = {("icmp", target) for target in ("1.1.1.1", "8.8.8.8", "9.9.9.9")}
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], seconds: float = 60) -> T:
    """Return the first truthy answer of `probe`; the bound is generous, since no test depends on speed."""
    end = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.1)


class Held:
    """A connection that was held open; `address` is known once it has ended."""

    address = ""


class System:
    """A running stack, the customer's API token, and the lab."""

    def __init__(self, state: Path) -> None:
        # Agents go on with new credentials all the time, so that every test is one of that too.
        self.stack = Stack(state, settings={"AGENT_TOKEN_RENEW_SECONDS": "20"})
        self.seed = self.stack.start()
        self.lab: LabClient = self.stack.lab()
        self.url = f"http://127.0.0.1:{self.stack.port}"

    def api(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Call the REST API, with `body` as JSON, or as it is where it is bytes; returns status and parsed body."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            method=method,
            data=body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"Authorization": f"Token {self.seed['api_token']}", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def egress(self, app: str) -> dict[str, Any]:
        """Return what the API says of an app's egress."""
        status, body = self.api("GET", f"apps/{self.seed['apps'][app]}/egress")
        assert status == 200, body
        return dict(body)

    def switch(self, app: str, kind: str) -> tuple[int, Any]:
        """Ask for an egress type."""
        return self.api("PUT", f"apps/{self.seed['apps'][app]}/egress", {"type": kind})

    def enable(self, app: str) -> set[str]:
        """Enable dedicated egress and wait until it is active; returns the two addresses."""
        status, body = self.switch(app, "DEDICATED_IP")
        assert status in {200, 202}, body
        return self.wait_active(app)

    def wait_active(self, app: str) -> set[str]:
        """Wait until the app's egress is active; returns the two addresses."""

        def active() -> set[str] | None:
            egress = self.egress(app)
            assert egress["state"] != "error", egress
            ips = {each["ip"] for each in egress["dedicated_ips"] if each["status"] == "ASSIGNED"}
            return ips if egress["state"] == "active" else None

        addresses = wait_for(f"{app} is active", active)
        assert len(addresses) == 2, addresses
        return addresses

    def disable(self, app: str) -> None:
        """Disable dedicated egress and wait until its addresses are released."""
        status, body = self.switch(app, "AUTOASSIGN")
        assert status in {200, 202}, body
        wait_for(f"{app} is released", lambda: self.egress(app)["state"] == "off", 90)

    def droplets(self) -> list[str]:
        """Return the names of the Droplets that there are."""
        return [droplet["name"] for droplet in self.lab.status()["droplets"]]

    def stop_control_plane(self) -> None:
        """Leave nothing of the control plane running."""
        for part in CONTROL_PLANE:
            self.stack.stop_part(part)

    def start_control_plane(self) -> None:
        """Start all of the control plane again."""
        for part in reversed(CONTROL_PLANE):
            self.stack.start_part(part)

    def node_state(self, node: str) -> Path:
        """Return the folder in which a node's agent keeps what must survive a reboot."""
        return self.stack.state / "lab/nodes" / node / "state"

    def start_container(self, app: str, node: str, command: Sequence[str] = ()) -> str:
        """Start a container; again, as long as the plugin says "try again later", as kubelet would."""

        def started() -> str | None:
            try:
                return self.lab.start_container(app, node=node, command=command)
            except LabError as error:
                if "code 11" not in str(error):
                    raise
                return None

        return wait_for(f"a container of {app} starts on {node}", started)

    def start_containers(self, *apps: str) -> None:
        """Start one container of each app on each node."""
        for app in apps:
            for node in NODE_NAMES:
                self.start_container(app, node)

    def seen(self, where: str, kind: str, count: int, *, node: str = "") -> set[str]:
        """Make `count` requests from a container; returns the addresses that they arrived from. None may fail."""
        answers = self.lab.requests(where, node=node, kind=kind, count=count)
        assert [answer["error"] for answer in answers if answer["error"]] == []
        return {answer["address"] for answer in answers}

    def seen_from_all_nodes(self, app: str, kind: str, count: int) -> set[str]:
        """Make `count` requests from the app's container on every node at once; returns the addresses seen."""
        with ThreadPoolExecutor(len(NODE_NAMES)) as pool:
            return set().union(*pool.map(lambda node: self.seen(app, kind, count, node=node), NODE_NAMES))

    def check_pair(self, app: str, kind: str, count: int, pair: set[str]) -> None:
        """Make requests from all nodes until both addresses of `pair` were seen; any other address fails at once.

        On a busy machine a node may find a gateway silent for a moment: it prefers the other one for the hold-down.
        """
        seen: set[str] = set()

        def both() -> bool:
            seen.update(self.seen_from_all_nodes(app, kind, count))
            assert seen <= pair, f"{app} was seen from {sorted(seen)}, but has {sorted(pair)}"
            return seen == pair

        wait_for(f"{app} is seen from both of its addresses", both, 120)

    @contextlib.contextmanager
    def holding(self, where: str, *, node: str = "", seconds: float) -> Iterator["Held"]:
        """Hold one connection open meanwhile, and wait at the end until it ended in its own time."""
        held = Held()
        mark = self.lab.mark()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.lab.requests, where, node=node, kind="hold", hold_seconds=seconds)
            wait_for("the connection is open", lambda: [c for c in self.lab.observed(mark).calls if c.path == "/hold"])
            yield held
            (result,) = answer.result(seconds + 60)
        assert result["error"] == ""
        held.address = result["address"]

    def sources(self, mark: str) -> set[str]:
        """Return the addresses of all packets that reached the internet since `mark`; none may have gone uncounted.

        Left out is what gateways ask for themselves, whether they have internet: pings to the cluster's targets.
        """
        observed = self.lab.observed(mark)
        assert observed.missed == 0
        out = (flow for flow in observed.flows if flow.direction == "out")
        return {flow.source for flow in out if (flow.protocol, flow.destination) not in ASKED}
