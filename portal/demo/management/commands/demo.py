"""manage.py demo: what `./dev demo` runs."""

import queue
import signal
import sys
from argparse import ArgumentTypeError
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from egress.control.models import Node
from egress.lab.errors import LabError
from portal.demo.errors import StackError
from portal.demo.needs import obstacle
from portal.demo.seed import APPS
from portal.demo.stack import NODES, Stack

MAX_PORT = 65_535
#: A part that ends by itself is started again so many times.
MAX_RESTARTS = 5


class Command(BaseCommand):
    """Run all of Sluicegate on this machine, on a cloud made of network namespaces, until Ctrl-C."""

    help = __doc__ or ""
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the port."""
        parser.add_argument("--port", type=a_port, default=8000)

    def handle(self, *, port: int, **_options: Any) -> None:
        """Run; ends with exit code 1 and one clear line when that can't be done."""
        signals = Signals()
        simulated = obstacle()
        if simulated:
            self.stderr.write(f"Simulated, no packets are steered: {simulated}")
        stack = Stack(Path(settings.STATE_DIR), port=port, simulated=simulated, cancelled=signals.came)
        try:
            seed = stack.start()
            wait_for_nodes(stack)
            start_containers(stack)
            self.stdout.write(greeting(stack.port, seed, simulated=bool(simulated)))
            self.stdout.flush()
            self._watch(stack, signals)
        except (StackError, LabError, OSError) as error:
            if not signals.came():
                self.stderr.write(f"The demo can't go on: {error}" if isinstance(error, OSError) else str(error))
                sys.exit(1)
        finally:
            stack.stop()

    def _watch(self, stack: Stack, signals: "Signals") -> None:
        restarts: Counter[str] = Counter()
        while not signals.come_within(1):
            for name in stack.dead_parts():
                restarts[name] += 1
                if name == "lab":
                    raise StackError(f"The lab ended, and with it all containers and gateways: {stack.part_log(name)}")
                if restarts[name] > MAX_RESTARTS:
                    raise StackError(f"{name} ended {restarts[name]} times: see {stack.part_log(name)}")
                self.stderr.write(f"{name} ended; starting it again (see {stack.part_log(name)})")
                stack.start_part(name)


class Signals:
    """Whether this process was told to end.

    A queue and no threading.Event: its `set` in a handler waits for ever when the main thread was just then in `wait`.
    """

    def __init__(self) -> None:
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._numbers.put(number))

    def came(self) -> bool:
        """Tell whether one came."""
        return not self._numbers.empty()

    def come_within(self, seconds: float) -> bool:
        """Wait until one came, but not longer than `seconds`; tell whether one did."""
        with suppress(queue.Empty):
            self._numbers.put(self._numbers.get(timeout=seconds))
        return self.came()


def a_port(text: str) -> int:
    """Return `text` as a port. Raises ArgumentTypeError."""
    if not (text.isdecimal() and 0 <= int(text) <= MAX_PORT):
        raise ArgumentTypeError(f"a port is a number up to {MAX_PORT}, not {text!r}")
    return int(text)


def wait_for_nodes(stack: Stack) -> None:
    """Wait until the nodes' agents work. Raises StackError, which names their logs."""
    try:
        stack.wait("agents", nodes_work)
    except StackError as error:
        logs = stack.state / "lab/nodes/*/agent.log"
        raise StackError(f"The nodes didn't join; their agents' side of it is in {logs}.\n{error}") from None


def nodes_work() -> bool:
    """Tell whether all of the lab's nodes have joined and can steer packets."""
    try:
        return Node.objects.filter(name__in=[node.name for node in NODES], dataplane="ok").count() == len(NODES)
    finally:
        connection.close()


def start_containers(stack: Stack) -> None:
    """Start one container of each app on each node."""
    lab = stack.lab()
    for app in APPS:
        for node in NODES:
            lab.start_container(app, node=node.name)


def greeting(port: int, seed: dict[str, Any], *, simulated: bool = False) -> str:
    """Return what a newcomer needs to go on."""
    what = "lab status" if simulated else f"lab ip {APPS[0]}"
    return (
        f"\nSluicegate is running: http://localhost:{port}/\n\n"
        f"Customer:  {seed['customer']}  password {seed['password']}\n"
        f"Admin:     {seed['admin']}  password {seed['password']}  http://localhost:{port}/admin/\n"
        f"API token: {seed['api_token']}\n\n"
        f"In another shell:  .venv/bin/python manage.py {what}\n"
        "                   .venv/bin/python manage.py lab pass-months 1   (a month's use is billed and paid)\n"
        "Ctrl-C ends it and leaves nothing behind.\n"
    )
