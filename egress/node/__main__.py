"""Start the node agent: `python -m egress.node --config FILE`."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from .agent import Agent
from .config import ConfigError, read_config
from .dataplane import Dataplane
from .prober import Prober
from .state import StateError

log = logging.getLogger("egress.node")


async def _serve(path: Path) -> None:
    config = read_config(path)
    await Agent(config, lambda: Dataplane(state_dir=Path(config.state_dir)), Prober).run()


def main() -> int:
    """Run until SIGTERM or SIGINT, which leave the kernel as it is; return the exit code."""
    parser = argparse.ArgumentParser(prog="sluicegate-node", description="The agent of a worker node.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see egress/node/config.py")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_serve(arguments.config))
    except (ConfigError, StateError, OSError) as error:
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
