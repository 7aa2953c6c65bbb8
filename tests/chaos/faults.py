"""What `./dev chaos` does to a system: every kind of fault, how it is healed, and what may come of it."""

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import Literal, NamedTuple

from portal.demo.stack import Stack
from tests.e2e.system import CONTROL_PLANE, System

#: What of the control plane runs our code.
PROCESSES = tuple(part for part in CONTROL_PLANE if part != "redis")
HOUR = 3_600
API_ERRORS = 1_000
Undo = Callable[[], None]


class Begun(NamedTuple):
    """When a fault began, by the machine's monotonic clock, and how to heal it."""

    at: float
    undo: Undo


Begin = Callable[[System, str], Begun]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault. `begin` strikes and returns how to heal; `where` says what it is given to strike.

    "gateway": the one Droplet that a container's new connections take; "pair": it and its peer; "node"; "control".
    """

    name: str
    where: Literal["gateway", "pair", "node", "control"]
    begin: Begin
    #: How long it stands.
    seconds: float = 5
    #: New connections find a way while it stands, after so long at most. None: not before it is healed.
    gap_seconds: float | None = 2
    #: What becomes of lasting TCP connections over what is struck. must: they can't survive, and are reset while it
    #: stands. may: they are at a standstill. Those that go elsewhere are never reset.
    resets: Literal["none", "may", "must"] = "none"
    #: Part of the short form.
    short: bool = False
    #: The control plane is struck, too, and what it says must be from afterwards.
    control_plane: bool = False


def _lab(kind: str) -> Begin:
    def begin(system: System, target: str) -> Begun:
        at = system.lab.strike(kind, target)
        return Begun(at, lambda: _heal(system, kind, target))

    return begin


def _left_to_repair(kind: str) -> Begin:
    """Return what begins a fault that nobody heals but the control plane."""

    def begin(system: System, target: str) -> Begun:
        return Begun(system.lab.strike(kind, target), lambda: None)

    return begin


def _heal(system: System, kind: str, target: str) -> None:
    system.lab.heal(kind, target)


def _die(system: System, _: str) -> Begun:
    at = monotonic()
    for part in PROCESSES:
        system.stack.stop_part(part, how=signal.SIGKILL)
    return Begun(at, lambda: _start(system.stack))


def _start(stack: Stack) -> None:
    for part in PROCESSES:
        stack.start_part(part)


def _freeze(system: System, _: str) -> Begun:
    def send(number: signal.Signals) -> None:
        for part in PROCESSES:
            os.killpg(system.stack.part_pid(part), number)

    at = monotonic()
    send(signal.SIGSTOP)
    return Begun(at, lambda: send(signal.SIGCONT))


def _lock(system: System, _: str) -> Begun:
    database = sqlite3.connect(system.stack.state / "sluicegate.sqlite3", timeout=20, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")

    def unlock() -> None:
        with closing(database):
            database.execute("ROLLBACK")

    return Begun(monotonic(), unlock)


def _lose_broker(system: System, _: str) -> Begun:
    at = monotonic()
    system.stack.stop_part("redis", how=signal.SIGKILL)

    def back() -> None:
        system.stack.start_part("redis")
        # Celery gives up now and then where its broker goes away; a supervisor starts it again.
        for part in system.stack.dead_parts():
            system.stack.start_part(part)

    return Begun(at, back)


def _fail_api(system: System, _: str) -> Begun:
    system.lab.fault("failed_before", count=API_ERRORS, status=503)
    return Begun(monotonic(), system.lab.faults_clear)


def _jump(seconds: int) -> Begin:
    def begin(system: System, _: str) -> Begun:
        at = monotonic()
        _set_clock(system.stack, seconds)
        return Begun(at, lambda: _set_clock(system.stack, 0))

    return begin


def _set_clock(stack: Stack, seconds: int) -> None:
    stack.environment["CLOCK_OFFSET_SECONDS"] = str(seconds)
    _start(stack)


def _both(*begins: Begin) -> Begin:
    """Return what begins several, one after the other; the last counts."""

    def begin(system: System, target: str) -> Begun:
        begun = [one(system, target) for one in begins]

        def undo() -> None:
            for one in reversed(begun):
                one.undo()

        return Begun(begun[-1].at, undo)

    return begin


KINDS: tuple[Kind, ...] = (
    Kind(name="power off", where="gateway", begin=_lab("power_loss"), resets="must", short=True),
    Kind(name="hang", where="gateway", begin=_lab("hang"), resets="must", short=True),
    Kind(name="cut cable", where="gateway", begin=_lab("cable_cut"), resets="must", short=True),
    Kind(name="forwarding stopped", where="gateway", begin=_lab("no_forwarding"), resets="may"),
    Kind(name="one-second blip", where="gateway", begin=_lab("cable_cut"), seconds=1, short=True),
    Kind(name="all processes stopped", where="gateway", begin=_lab("freeze"), short=True),
    Kind(name="responder stopped", where="gateway", begin=_lab("agent_freeze")),
    Kind(name="gateway's agent killed", where="gateway", begin=_lab("agent_kill"), seconds=3),
    Kind(name="probes blocked", where="gateway", begin=_lab("probes_blocked")),
    Kind(name="gateway's ruleset flushed", where="gateway", begin=_lab("ruleset_flush"), seconds=3),
    Kind(name="public link down", where="gateway", begin=_lab("link_down"), resets="may", short=True),
    Kind(name="internet lost on one", where="gateway", begin=_lab("internet_lost"), resets="may"),
    Kind(name="internet lost on both", where="pair", begin=_lab("internet_lost"), gap_seconds=None, resets="may"),
    Kind(name="nothing beyond the next hop", where="gateway", begin=_lab("beyond_lost"), seconds=10, gap_seconds=8,
         resets="may"),
    Kind(name="nothing beyond it on both", where="pair", begin=_lab("beyond_lost"), seconds=8, gap_seconds=None,
         resets="may"),
    Kind(name="power off, left to repair", where="gateway", begin=_left_to_repair("power_loss"), resets="must"),
    Kind(name="hang, left to repair", where="gateway", begin=_left_to_repair("hang"), resets="must"),
    Kind(name="both powered off", where="pair", begin=_lab("power_loss"), gap_seconds=None, resets="may"),
    Kind(name="node's agent killed", where="node", begin=_lab("agent_kill"), seconds=3, short=True),
    Kind(name="node's agent stopped", where="node", begin=_lab("agent_freeze")),
    Kind(name="node's ruleset flushed", where="node", begin=_lab("ruleset_flush"), seconds=3, short=True),
    Kind(name="node's clock an hour ahead", where="node", begin=_lab("clock_ahead")),
    Kind(name="node's clock an hour back", where="node", begin=_lab("clock_back")),
    Kind(name="control plane killed", where="control", control_plane=True, begin=_die),
    Kind(name="control plane stopped", where="control", control_plane=True, begin=_freeze, short=True),
    Kind(name="database locked", where="control", control_plane=True, begin=_lock),
    Kind(name="broker lost", where="control", control_plane=True, begin=_lose_broker),
    Kind(name="API errors", where="control", begin=_fail_api),
    Kind(name="control plane's clock an hour ahead", where="control", control_plane=True, begin=_jump(HOUR)),
    Kind(name="power off, control plane killed", where="gateway", control_plane=True, resets="must",
         begin=_both(_die, _lab("power_loss"))),
    Kind(name="hang, broker lost", where="gateway", control_plane=True, resets="must",
         begin=_both(_lose_broker, _lab("hang"))),
    Kind(name="cut cable, database locked", where="gateway", control_plane=True, begin=_both(_lock, _lab("cable_cut")),
         resets="must"),
    Kind(name="power off, API errors", where="gateway", begin=_both(_fail_api, _lab("power_loss")),
         resets="must"),
)  # fmt: skip


def _leak(system: System, node: str) -> Begun:
    """Have the node's containers leave by its own address, as if there were no rules of ours."""
    at = monotonic()
    system.lab.agent(node, "stop")
    script = """
        nft delete table inet sluicegate
        for priority in $(ip rule show | sed -n 's/^\\([0-9]*\\):.*/\\1/p'); do
            case $priority in 0|32766|32767) ;; *) ip rule delete pref "$priority" ;; esac
        done
    """
    done = system.lab.exec(node, ["sh", "-ec", script])
    assert done.code == 0, done.stderr
    return Begun(at, lambda: _start_agent(system, node))


def _start_agent(system: System, node: str) -> None:
    system.lab.agent(node, "start")


#: Must be found, or the judges are blind.
PLANTED = Kind(name="a planted leak", where="node", begin=_leak, seconds=2, gap_seconds=None)
