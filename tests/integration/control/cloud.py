"""A provider that keeps its servers in files: seen by several processes, and faulty on demand."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from ipaddress import IPv4Address
from pathlib import Path
from time import sleep
from typing import Any

from egress.provider import base
from egress.provider.base import ActionStatus, NotFound, Server, ServerSpec

_FAULTS = {
    error.code: error
    for error in (
        base.Unavailable,
        base.RateLimited,
        base.NoCapacity,
        base.AccessRefused,
        base.Rejected,
        base.OutcomeUnknown,
        base.NotFound,
    )
}
#: The call was carried out, and its answer was lost.
LOST_ANSWER = "lost_answer"
#: The call was carried out, and its answer doesn't come.
HANG = "hang"
HANG_SECONDS = 30
#: The call is accepted, and nothing is done.
IGNORED = "ignored"
#: The call raises what no provider may raise.
BUG = "bug"


#: What there is.
IMAGES = ("ubuntu-24-04-x64", "ubuntu-26-04-x64")


class FileCloud:
    """Implements `egress.provider.base.Provider`. A server that an action is on is busy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- what tests do -----------------------------------------------------------------------------------------------

    def fail(self, method: str, *codes: str, times: int = 1) -> None:
        """Let the next calls of `method` fail."""
        with self._state() as state:
            state["faults"].setdefault(method, []).extend(list(codes) * times)

    def heal(self) -> None:
        with self._state() as state:
            state["faults"] = {}

    def delay_addresses(self, polls: int) -> None:
        """Let servers have their addresses only after they were looked at so often."""
        with self._state() as state:
            state["polls_before_addresses"] = polls

    def add_stray(self, *tags: str) -> str:
        """Let a server appear as if an earlier creation landed only now."""
        with self._state() as state:
            return str(self._create(state, "stray", tags)["id"])

    def place_together(self, times: int) -> None:
        """Let the next servers land on the host of the one created before each."""
        with self._state() as state:
            state["together"] = times

    def share_host(self, first: str, second: str) -> None:
        """Let these two servers stand on one host."""
        with self._state() as state:
            hosts = {data["id"]: data for data in state["servers"]}
            hosts[second]["host"] = hosts[first]["host"]

    def cut_power(self, server_id: str) -> None:
        """Let this server be off, and say so."""
        with self._state() as state:
            for data in state["servers"]:
                if data["id"] == server_id:
                    data["status"] = "off"

    def retag(self, server_id: str, *tags: str, name: str = "") -> None:
        """Replace the tags of a server by hand, and its name too."""
        with self._state() as state:
            for data in state["servers"]:
                if data["id"] == server_id:
                    data["tags"] = tags
                    data["name"] = name or data["name"]

    def end_actions(self, status: ActionStatus = "completed") -> dict[str, str]:
        """Let the actions under way end so; returns {their server's id: what was done}."""
        with self._state() as state:
            ended = [action for action in state["actions"] if action["status"] == "in-progress"]
            for action in ended:
                action["status"] = status
                for data in state["servers"]:
                    if data["id"] == action["server"] and status == "completed":
                        data["status"] = "off" if action["type"] == "power_off" else "active"
            return {action["server"]: action["type"] for action in ended}

    def servers(self) -> list[Server]:
        with self._state() as state:
            return [_server(data) for data in state["servers"]]

    def calls(self, method: str) -> int:
        with self._state() as state:
            return int(state["calls"].get(method, 0))

    def done(self, kind: str) -> list[str]:
        """Return the ids of the servers to which `kind` was done, once for each time."""
        with self._state() as state:
            actions = [action for action in state["actions"] if action["type"] == kind]
            return [action["server"] for action in actions if action["status"] == "completed"]

    def images(self) -> set[str]:
        """Return the images that servers were rebuilt from."""
        with self._state() as state:
            return {action["image"] for action in state["actions"] if action["status"] == "completed"}

    def rebuilt(self) -> list[str]:
        """Return the ids of the servers that were rebuilt, once for each time."""
        return self.done("rebuild")

    def user_data(self) -> list[str]:
        with self._state() as state:
            return [data["user_data"] for data in state["servers"]]

    # --- the port ----------------------------------------------------------------------------------------------------

    def create_or_adopt(self, spec: ServerSpec, *, tag: str) -> Server:
        with self._call("create_or_adopt") as (state, fault):
            present = [data for data in state["servers"] if tag in data["tags"]]
            if present:
                return _server(present[0])
            data = self._create(state, spec.name, spec.tags, spec.user_data)
            if fault == LOST_ANSWER:
                raise base.OutcomeUnknown("the connection broke")
        if fault == HANG:
            sleep(HANG_SECONDS)
        return _server(data)

    def get(self, server_id: str) -> Server:
        with self._call("get") as (state, _):
            for data in state["servers"]:
                if data["id"] == server_id:
                    data["polls"] += 1
                    self._address(state, data)
                    return _server(data)
            raise NotFound(f"no server {server_id}")

    def neighbours(self, server_id: str) -> frozenset[str]:
        with self._call("neighbours") as (state, _):
            hosts = {data["id"]: data["host"] for data in state["servers"]}
            if server_id not in hosts:
                raise NotFound(f"no server {server_id}")
            return frozenset(other for other in hosts if hosts[other] == hosts[server_id] and other != server_id)

    def list_by_tag(self, tag: str) -> list[Server]:
        with self._call("list_by_tag") as (state, _):
            return [_server(data) for data in state["servers"] if tag in data["tags"]]

    def delete(self, server_id: str) -> None:
        with self._call("delete") as (state, fault):
            if fault != IGNORED:
                state["servers"] = [data for data in state["servers"] if data["id"] != server_id]

    def reboot(self, server_id: str) -> str:
        return self._act("reboot", server_id)

    def power_cycle(self, server_id: str) -> str:
        return self._act("power_cycle", server_id)

    def power_off(self, server_id: str) -> str:
        return self._act("power_off", server_id)

    def power_on(self, server_id: str) -> str:
        return self._act("power_on", server_id)

    def rebuild(self, server_id: str, *, image: str) -> str:
        return self._act("rebuild", server_id, image)

    def _act(self, kind: str, server_id: str, image: str = "") -> str:
        with self._call(kind) as (state, fault):
            if server_id not in {data["id"] for data in state["servers"]}:
                raise NotFound(f"no server {server_id}")
            actions = state["actions"]
            if any(action["server"] == server_id and action["status"] == "in-progress" for action in actions):
                raise base.Unavailable(f"server {server_id} has a pending event")
            action = {"id": str(len(actions) + 1), "type": kind, "server": server_id, "image": image}
            actions.append({**action, "status": "in-progress"})
            if fault == LOST_ANSWER:
                raise base.OutcomeUnknown("the connection broke")
            return str(actions[-1]["id"])

    def image_regions(self, image: str) -> frozenset[str]:
        with self._call("image_regions"):
            if image not in IMAGES:
                raise NotFound(f"no image {image}")
            return frozenset({"nyc3", "lab1"})

    def action_status(self, server_id: str, action_id: str) -> ActionStatus:
        with self._call("action_status") as (state, _):
            for action in state["actions"]:
                if (action["server"], action["id"]) == (server_id, action_id):
                    status: ActionStatus = action["status"]
                    return status
            raise NotFound(f"no action {action_id}")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _create(self, state: dict[str, Any], name: str, tags: tuple[str, ...], user_data: str = "") -> dict[str, Any]:
        state["last_id"] += 1
        if state["together"]:
            state["together"] -= 1
        else:
            state["host"] += 1
        data = {
            "host": state["host"],
            "id": str(state["last_id"]),
            "name": name,
            "tags": tags,
            "user_data": user_data,
            "polls": 0,
            "addresses": None,
        }
        state["servers"].append(data)
        self._address(state, data)
        return data

    @staticmethod
    def _address(state: dict[str, Any], data: dict[str, Any]) -> None:
        if data["polls"] >= state["polls_before_addresses"]:
            number = int(data["id"])
            data["addresses"] = [str(IPv4Address("203.0.113.0") + number), str(IPv4Address("10.110.0.100") + number)]

    @contextmanager
    def _call(self, method: str) -> Iterator[tuple[dict[str, Any], str]]:
        with self._state() as state:
            state["calls"][method] = state["calls"].get(method, 0) + 1
            faults = state["faults"].get(method, [])
            fault = faults.pop(0) if faults else ""
            if fault in _FAULTS:
                raise _FAULTS[fault](f"{method}: made to fail")
            if fault == BUG:
                raise RuntimeError(f"{method}: a bug")
            yield state, fault

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        path = self.folder / "state.json"
        with (self.folder / "lock").open("w") as lock:
            flock(lock, LOCK_EX)
            state: dict[str, Any] = {
                "servers": [],
                "actions": [],
                "faults": {},
                "calls": {},
                "last_id": 0,
                "host": 0,
                "together": 0,
                "polls_before_addresses": 0,
            }
            if path.exists():
                state = json.loads(path.read_text())
            try:
                yield state
            finally:
                path.write_text(json.dumps(state))


def _server(data: dict[str, Any]) -> Server:
    public, private = data["addresses"] or (None, None)
    return Server(
        id=data["id"],
        name=data["name"],
        status=data.get("status", "active"),
        public_address=public,
        private_address=private,
        tags=tuple(data["tags"]),
        created_at=f"2026-01-01T00:00:{int(data['id']):02}Z",
    )


def from_environment() -> FileCloud:
    """Return the cloud in the folder that SGT_CLOUD names: what `EGRESS_PROVIDER` points at."""
    return FileCloud(Path(os.environ["SGT_CLOUD"]))
