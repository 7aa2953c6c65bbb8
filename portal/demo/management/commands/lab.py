"""Look into the running lab: `manage.py lab status | ip | exec | …`; make it fail, and let time pass in it."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from typing import Any, get_args

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.models import Q

from egress.control import clock
from egress.control.models import App
from egress.lab import droplet_faults, node_faults
from egress.lab.client import LabClient, LabError
from egress.lab.cloud.faults import FaultKind, Operation
from portal.demo import passing
from portal.demo.errors import StackError

#: What a shell uses for a command that a signal has ended.
SIGNAL_BASE = 128
MAX_EXEC_SECONDS = 3_600
MAX_DAYS, MAX_MONTHS = 366, 12


def _fault_help() -> str:
    """Say which faults there are, and what each does."""
    return "\n".join(
        [
            f"Requests to the cloud's API: {', '.join(get_args(FaultKind))}",
            *(f"  --droplet: {kind:14} {words}" for kind, words in droplet_faults.KINDS.items()),
            *(f"  --node:    {kind:14} {words}" for kind, words in node_faults.KINDS.items()),
            "list shows what waits for a request and what stands; clear drops what waits;",
            "heal ends what stands, all of it or what befell --droplet or --node.",
        ]
    )


class Command(BaseCommand):
    """Look into the running lab."""

    help = "Look into the running lab: its nodes, its containers, and the address that the internet sees of an app."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare one sub-command for each thing to do."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("status", help="what there is")
        ip = actions.add_parser("ip", help="make a request from an app's container; print the address seen outside")
        execute = actions.add_parser("exec", help="run a command in an app's container; its exit code is passed on")
        start = actions.add_parser("start-container", help="start one more container of an app")
        stop = actions.add_parser("stop-container", help="stop a container, or all of an app's")
        for each in (ip, execute, start):
            each.add_argument("app", metavar="APP", help="the app's name, or its namespace in the cluster")
        stop.add_argument("app", metavar="NAME|APP", help="a container's name, or an app's")
        for each in (ip, execute, stop):
            each.add_argument("--node", default="", help="only on this node")
        start.add_argument("--node", required=True)
        execute.add_argument("command", nargs="+", metavar="-- CMD", help="what to run, after two dashes")
        bypass = actions.add_parser("bypass", help="make a node's network one that dedicated egress can't work on")
        bypass.add_argument("node", metavar="NODE")
        bypass.add_argument("switch", choices=("on", "off"))
        days = actions.add_parser("pass-days", help="let days pass, with the reminders and payments that fall due")
        days.add_argument("number", metavar="N", type=int, choices=range(1, MAX_DAYS + 1))
        months = actions.add_parser("pass-months", help="let time pass until so many more months are over and invoiced")
        months.add_argument("number", metavar="N", type=int, choices=range(1, MAX_MONTHS + 1))
        _add_fault(actions.add_parser("fault", help="make the cloud's API, a Droplet or a node fail; end it"))

    def handle(self, *, action: str, **options: Any) -> None:
        """Do it. Raises CommandError with what is there when something named isn't."""
        lab = LabClient(settings.LAB_SOCKET)
        try:
            getattr(self, f"_{action.replace('-', '_')}")(lab, options)
        except (LabError, StackError) as error:
            raise CommandError(str(error)) from None

    def _status(self, lab: LabClient, _: dict[str, Any]) -> None:
        for line in status_lines(lab.status()):
            self.stdout.write(line)

    def _ip(self, lab: LabClient, options: dict[str, Any]) -> None:
        self.stdout.write(lab.ip(namespace_of(options["app"]), node=options["node"]))

    def _exec(self, lab: LabClient, options: dict[str, Any]) -> None:
        def show(stream: str, text: str) -> None:
            out = self.stdout if stream == "stdout" else self.stderr
            out.write(text, str, ending="")  # as it came: Django would colour what goes to stderr
            out.flush()

        where, node = namespace_of(options["app"]), options["node"]
        result = lab.exec(where, options["command"], node=node, timeout_seconds=MAX_EXEC_SECONDS, on_output=show)
        if result.code:
            sys.exit(result.code if result.code > 0 else SIGNAL_BASE - result.code)

    def _start_container(self, lab: LabClient, options: dict[str, Any]) -> None:
        self.stdout.write(lab.start_container(namespace_of(options["app"], must_exist=True), node=options["node"]))

    def _stop_container(self, lab: LabClient, options: dict[str, Any]) -> None:
        for name in lab.stop_container(namespace_of(options["app"]), node=options["node"]):
            self.stdout.write(name)

    def _bypass(self, lab: LabClient, options: dict[str, Any]) -> None:
        lab.bypass(options["node"], on=options["switch"] == "on")

    def _pass_days(self, _: LabClient, options: dict[str, Any]) -> None:
        self._pass(passing.days_pass(options["number"]))

    def _pass_months(self, _: LabClient, options: dict[str, Any]) -> None:
        self._pass(passing.months_pass(options["number"]))

    def _pass(self, days: Iterator[passing.Day]) -> None:
        for day in days:
            for line in day.news:
                self.stdout.write(line)
        self.stdout.write(f"It is {clock.now():%Y-%m-%d %H:%M} UTC.")

    def _fault(self, lab: LabClient, options: dict[str, Any]) -> None:
        match options["kind"]:
            case "list":
                for line in fault_lines(lab.faults(), lab.struck()):
                    self.stdout.write(line)
            case "clear":
                lab.faults_clear()
            case "heal":
                for line in fault_lines([], lab.heal(target=_target(options))):
                    self.stdout.write(f"ended: {line}")
            case kind if target := _target(options):
                lab.strike(kind, target, seconds=options["seconds"])
            case kind if kind in (*droplet_faults.KINDS, *node_faults.KINDS):
                raise CommandError(_which(kind))
            case kind:
                names = ("operation", "count", "delay_seconds", "retry_after_seconds", "status")
                lab.fault(kind, **{name: options[name] for name in names})


def _add_fault(fault: ArgumentParser) -> None:
    fault.formatter_class = RawDescriptionHelpFormatter
    fault.description = _fault_help()
    fault.add_argument("kind", metavar="KIND|list|clear|heal", help="one of those above, or what to do with them")
    fault.add_argument("--droplet", type=int, help="strike the Droplet of this number, or heal it")
    fault.add_argument("--node", default="", help="strike this node, or heal it")
    fault.add_argument("--seconds", type=float, default=0, help="what strikes a Droplet or a node ends after so many")
    operations = ", ".join(get_args(Operation))
    fault.add_argument("--operation", default="*", metavar="OP", help=f"only at one of {operations}; else at any")
    fault.add_argument("--count", type=int, default=1, help="how many requests it strikes (default 1)")
    fault.add_argument("--delay-seconds", type=float, default=5, help="for slow, late and slow_work")
    fault.add_argument("--retry-after-seconds", type=int, default=1, help="for rate_limited; 0: untold")
    fault.add_argument("--status", type=int, default=500, help="for failed_before and failed_after")


def _target(options: dict[str, Any]) -> str:
    """Return what to strike or heal, "" where nothing is named. Raises CommandError for two at once."""
    if options["droplet"] is not None and options["node"]:
        raise CommandError("One at a time: say --droplet or --node.")
    return options["node"] if options["droplet"] is None else f"droplet-{options['droplet']}"


def _which(kind: str) -> str:
    ways = []
    if kind in droplet_faults.KINDS:
        ways.append(f"lab fault {kind} --droplet 3164001")
    if kind in node_faults.KINDS:
        ways.append(f"lab fault {kind} --node fra1-w1")
    return f"Strike what? As in: {' or: '.join(ways)}"


def fault_lines(faults: list[dict[str, Any]], struck: list[dict[str, Any]]) -> list[str]:
    """Return what `LabClient.faults` and `struck` say as lines to read."""
    lines = [f"{one['kind']:14} at {one['operation']:13} {one['left']} more" for one in faults]
    lines += [f"{one['kind']:14} on {one['target']}" for one in struck]
    return lines or ["no fault is waiting or stands"]


def namespace_of(app: str, *, must_exist: bool = False) -> str:
    """Return the namespace of the app with this name or namespace; without a database, or such an app, `app` itself.

    Raises CommandError when several teams have an app of that name, or, if it `must_exist`, there is none.
    """
    try:
        found = list(App.objects.filter(Q(name=app) | Q(namespace=app)).values_list("namespace", flat=True)[:10])
        known = list(App.objects.values_list("name", flat=True)[:20])
    except DatabaseError:
        return app
    if app in found or (not found and not (must_exist and known)):
        return app
    if not found:
        raise CommandError(f"There is no app {app!r}; there are {', '.join(known)}.")
    if len(found) > 1:
        raise CommandError(f"Several apps are called {app!r}: name one by its namespace, {', '.join(found)}.")
    return found[0]


def status_lines(status: dict[str, Any]) -> list[str]:
    """Return what `LabClient.status` says as lines to read."""
    lab = status["lab"]
    if simulated := lab.get("simulated"):
        lines = [f"Simulated: nothing moves, routes are only recorded. {simulated}", "Nodes"]
    else:
        lines = [f"Droplets boot with {lab['boots_with']}; the internet is {lab['observer']}", "Nodes"]
    lines += [
        f"  {node['name']:16} {node['public_address']:15} {node['private_address']:15} {node['network']:7} "
        f"agent {node['agent']}"
        for node in status["nodes"]
    ]
    lines.append("Containers")
    lines += [f"  {one['name']:24} {one['address']:15} on {one['node']}" for one in status["containers"]] or ["  none"]
    lines.append("Droplets")
    lines += [
        f"  {one['id']} {one['name']:24} {one['public_address']:15} {one['private_address']:15} {one['state']}"
        for one in status["droplets"]
    ] or ["  none"]
    return lines
