"""Run one agent's part that keeps its credential, against a real control plane, and die at the Nth point of it.

`python crashing_agent.py KIND CONFIG N`; KIND is node or gateway. Prints the points passed when it gets to the end: it
has synced, taken over what was offered, and used that.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from egress.gateway import session
from egress.gateway.config import load_config
from egress.gateway.state import Store
from egress.node import sync
from egress.node.config import read_config
from egress.node.link import Link
from egress.node.state import State
from egress.wire.http import ControlPlane
from egress.wire.messages import GatewaySync, GatewaySyncRequest, NodeSync

passed = 0


def die_at(point: int) -> None:
    """Make each write to disk and each call a point before and a point after."""

    def around(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            reach()
            result = original(*arguments, **named)
            reach()
            return result

        setattr(owner, name, call)

    def reach() -> None:
        global passed  # noqa: PLW0603 - a script's own counter
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    around(os, "fsync")
    around(Path, "replace")
    # The first point of a call is before it is sent, the second after its answer came.
    around(ControlPlane, "_post")


async def node(path: Path) -> None:
    """Sync until the credential that the first answer offered was used."""
    sync.WAIT_SECONDS, sync.HASTE_SECONDS = 0, 0.0
    config = read_config(path)
    state = State(Path(config.state_dir))

    async def apply(table: NodeSync) -> None:
        state.table = table

    follower = sync.Sync(config, state, Link(config, "sync"), apply, applied=False)
    for _ in range(2):
        await follower._step()


def gateway(path: Path) -> None:
    """Sync twice, taking over what is offered."""
    config = load_config(path)
    credential = session.Credential(config, Store(Path(config.state_dir)), "boot")
    channel = session.Channel(config, credential)
    for _ in range(2):
        ask = GatewaySyncRequest(applied_revision=0, wait_seconds=0)
        wish = channel.call("gateways/sync", ask, GatewaySync, timeout_seconds=30)
        if wish.credential:
            credential.follow(wish.credential)


if __name__ == "__main__":
    kind, file, point = sys.argv[1:]
    die_at(int(point))
    if kind == "node":
        asyncio.run(node(Path(file)))
    else:
        gateway(Path(file))
    sys.stdout.write(json.dumps(passed))
