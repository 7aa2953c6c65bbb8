"""Start the node agent, or take away what it leaves: `python -m egress.node --config FILE [--uninstall]`."""

import argparse
import asyncio
import logging
import sys
from functools import partial
from pathlib import Path

from . import canary
from .agent import Agent
from .config import ConfigError, read_config
from .counts import Counts
from .dataplane import Dataplane, DataplaneError
from .prober import Prober
from .state import State, StateError

log = logging.getLogger("egress.node")


async def _serve(path: Path) -> None:
    config = read_config(path)
    counts = Counts()
    prober = partial(Prober, interface=config.private_interface, counts=counts)
    await Agent(config, lambda: Dataplane(state_dir=Path(config.state_dir)), prober, counts).run()


def _uninstall(path: Path) -> None:
    """Take all that is ours out of the kernel. Raises StateError while the agent runs, which would put it back."""
    config = read_config(path)
    state = State(Path(config.state_dir))
    try:
        Dataplane.uninstall()
        canary.sweep(config)
    finally:
        state.close()


def main() -> int:
    """Run until SIGTERM or SIGINT, which leave the kernel as it is; return the exit code."""
    parser = argparse.ArgumentParser(prog="sluicegate-node", description="The agent of a worker node.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see egress/node/config.py")
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="instead of running, take rules, routes and diverted connections out of the kernel; stop the agent first",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        if arguments.uninstall:
            _uninstall(arguments.config)
        else:
            asyncio.run(_serve(arguments.config))
    except (ConfigError, StateError, DataplaneError, OSError) as error:
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
