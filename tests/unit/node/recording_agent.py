"""The node agent with everything real but the kernel: its data plane writes down what it is asked for."""

import argparse
import asyncio
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from egress.netkit.desired import Observed, Pod, Wish
from egress.node import canary, network, steward
from egress.node.agent import Agent
from egress.node.config import read_config
from egress.node.judge import Judge, Target, Verdict
from egress.wire.messages import Probing


class Recorder:
    """A data plane that appends to a file. A file beside it named `.fail` makes it fail, `.slow` (seconds) slow;
    `.flows` holds {gateway id: flows}."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self, wish: Wish) -> None:
        self._note("start", wish)

    def reconcile(self, wish: Wish) -> Observed:
        self._note("reconcile", wish)
        return self._observed()

    def _observed(self) -> Observed:
        flows = self._path.with_suffix(".flows")
        return Observed(flows=json.loads(flows.read_text()) if flows.exists() else {})

    files = ()

    def altered(self) -> bool:
        return False

    def change(self, wish: Wish) -> Observed:
        self._note("change", wish)
        return self._observed()

    def pod_added(self, wish: Wish, pod: Pod) -> None:
        self._note("pod_added", wish, pod.address)

    def pod_removed(self, wish: Wish, address: str) -> None:
        self._note("pod_removed", wish, address)

    def returned(self) -> dict[str, int]:
        return {}

    def unsure(self) -> None:
        pass

    def close(self) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"call": "close"}) + "\n")

    def _note(self, call: str, wish: Wish, address: str = "") -> None:
        slow = self._path.with_suffix(".slow")
        if slow.exists():
            time.sleep(float(slow.read_text()))
        if self._path.with_suffix(".fail").exists():
            raise RuntimeError("the kernel said no")
        line = {
            "call": call,
            "address": address,
            "routes": {name: route.state for name, route in wish.routes.items()},
            "pods": {address: dataclasses.asdict(pod) for address, pod in wish.pods.items()},
        }
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Blind:
    """A prober that knows nothing."""

    def __init__(self, _on_change: Callable[[], None], _known: Mapping[str, Verdict]) -> None:
        self.judge = Judge()

    def follow(self, targets: Mapping[str, Target], _key: str, probing: Probing) -> None:
        self.judge.follow(targets, probing)

    async def run(self) -> None:
        await asyncio.Event().wait()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # A minute's worth of looking after things in seconds.
    steward.REST_SECONDS = steward.LOOK_SECONDS = network.LOOK_SECONDS = network.RETRY_SECONDS = 2.0
    canary.WATCH_SECONDS = 2.0
    await Agent(read_config(arguments.config), lambda: Recorder(arguments.record), Blind).run()


if __name__ == "__main__":
    asyncio.run(main())
