"""Start the agent: `python3 -m egress.gateway --config FILE`, or the archive that user data carries."""

import argparse
import logging
import signal
import sys
from pathlib import Path

from .agent import Agent, die_with_any_thread
from .config import ConfigError, load_config


def main() -> None:
    """Run until SIGTERM or SIGINT, which leave the kernel as it is. Exits with 1 when the agent can't start.

    When the whole machine goes down, it says so to the nodes before.
    """
    parser = argparse.ArgumentParser(prog="sluicegate-gateway", description="The agent of a Sluicegate gateway.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see egress/gateway/config.py")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        agent = Agent(load_config(arguments.config))
    except (ConfigError, OSError) as error:
        logging.getLogger(__name__).critical("%s", error)
        sys.exit(1)
    die_with_any_thread()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    try:
        agent.run()
    except SystemExit:
        agent.take_leave()
        raise


if __name__ == "__main__":
    main()
