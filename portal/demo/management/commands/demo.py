"""manage.py demo: what `./dev demo` runs."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from egress.lab.errors import LabError
from portal.demo.seed import APPS
from portal.demo.stack import NODES, Stack, StackError


class Command(BaseCommand):
    """Run all of Sluicegate on this machine, on a cloud made of network namespaces, until Ctrl-C."""

    help = __doc__ or ""
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the port."""
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *, port: int, **_options: Any) -> None:
        """Run."""
        stack = Stack(Path(settings.STATE_DIR), port=port)
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        try:
            seed = stack.start(cancelled=stopped.is_set)
            start_containers(stack)
            self.stdout.write(greeting(stack.port, seed))
            self._watch(stack, stopped)
        except (StackError, LabError) as error:
            if not stopped.is_set():
                raise CommandError(str(error)) from None
        finally:
            stack.stop()

    def _watch(self, stack: Stack, stopped: threading.Event) -> None:
        while not stopped.wait(1):
            for name in stack.dead_parts():
                self.stderr.write(f"{name} ended; starting it again (see {stack.state / f'{name}.log'})")
                stack.start_part(name)
                time.sleep(1)


def start_containers(stack: Stack) -> None:
    """Start one container of each app on each node."""
    lab = stack.lab()
    for app in APPS:
        for node in NODES:
            lab.start_container(app, node=node.name)


def greeting(port: int, seed: dict[str, Any]) -> str:
    """Return what a newcomer needs to go on."""
    return (
        f"\nSluicegate is running: http://localhost:{port}/\n\n"
        f"Customer:  {seed['customer']}  password {seed['password']}\n"
        f"Admin:     {seed['admin']}  password {seed['password']}  http://localhost:{port}/admin/\n"
        f"API token: {seed['api_token']}\n\n"
        f"In another shell:  .venv/bin/python manage.py lab ip {APPS[0]}\n"
        "Ctrl-C ends it and leaves nothing behind.\n"
    )
