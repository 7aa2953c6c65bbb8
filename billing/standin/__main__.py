"""`python -m billing.standin --state FOLDER`: run the stand-in, and print its address once it listens."""

import argparse
import logging
import os
import socket
import sqlite3
import sys
from pathlib import Path

import uvicorn

from .app import Webhook, create_app, server_config
from .errors import ApiError

#: Secrets come by the environment: a command line can be read by every process of the machine.
API_KEY = "STANDIN_API_KEY"
WEBHOOK_SECRET = "STANDIN_WEBHOOK_SECRET"  # noqa: S105 - a variable's name


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m billing.standin",
        description="A stand-in for Stripe over HTTP.",
        epilog=f"{API_KEY} is the API key that it takes (default: any sk_test_ key); {WEBHOOK_SECRET} signs webhooks.",
    )
    parser.add_argument("--state", type=Path, required=True, metavar="FOLDER", help="where it keeps its state")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: a free one)")
    parser.add_argument("--fd", type=int, help="an inherited socket to listen on, instead of --host and --port")
    parser.add_argument("--webhook", default="", metavar="URL", help="where events go, http:// on this machine")
    arguments = parser.parse_args()
    secret = os.environ.get(WEBHOOK_SECRET, "")
    if arguments.webhook and not secret:
        parser.error(f"--webhook needs {WEBHOOK_SECRET} in the environment: events are signed with it")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    os.umask(0o077)  # the state holds the secret
    try:
        arguments.state.mkdir(parents=True, exist_ok=True)
        where = (arguments.host, arguments.port)
        listening = socket.create_server(where) if arguments.fd is None else socket.socket(fileno=arguments.fd)
        host, port = listening.getsockname()[:2]
        address = f"http://{host}:{port}"
        app = create_app(
            arguments.state,
            base_url=address,
            api_key=os.environ.get(API_KEY, ""),
            webhook=Webhook(arguments.webhook, secret) if arguments.webhook else None,
        )
    except (OSError, sqlite3.Error, ApiError) as error:
        sys.stderr.write(f"the stand-in can't start with its state in {arguments.state}: {error}\n")
        return 1
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    uvicorn.Server(server_config(app)).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
