"""Talk to a running lab from outside; synchronous."""

import json
import secrets
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import caller
from .errors import LabError, NotRunning
from .sightings import Call, Flow, Observed

__all__ = ["ExecResult", "LabClient", "LabError", "NotRunning"]

OBSERVER_ADDRESS = "192.0.2.80"
PORTS = {"tcp": 80, "hold": 80, "udp": 7}
MAX_LINE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command in the lab wrote, and its exit code."""

    code: int
    stdout: str
    stderr: str


class LabClient:
    """A lab, by its control socket. Every call raises LabError: NotRunning when there is no lab."""

    def __init__(self, socket_path: str | Path, *, timeout_seconds: float = 60) -> None:
        self._path = str(socket_path)
        self._timeout_seconds = timeout_seconds

    def status(self) -> dict[str, Any]:
        """Return {"lab": …, "nodes": […], "containers": […], "droplets": […]}."""
        return dict(self.call("status"))

    def start_container(self, namespace: str, *, node: str, command: Sequence[str] = ()) -> str:
        """Start a container and return its name once it is wired; `command` is run in it at once, in the background."""
        started = self.call("start-container", namespace=namespace, node=node, argv=list(command))
        return str(started["name"])

    def check_container(self, name: str) -> None:
        """Run CNI's CHECK on a container, or on all of a namespace. Raises LabError when something was altered."""
        self.call("check-container", name=name)

    def stop_container(self, name: str, *, node: str = "") -> list[str]:
        """Stop the container `name`, or all of that namespace (on `node`); return the names of those stopped."""
        return list(self.call("stop-container", name=name, node=node))

    def exec(
        self,
        where: str,
        argv: Sequence[str],
        *,
        node: str = "",
        timeout_seconds: float = 60,
        on_output: Callable[[str, str], object] | None = None,
    ) -> ExecResult:
        """Run `argv` and return what it wrote.

        `where` is a container's name, a namespace (its first container, on `node` if given), a node's name,
        "droplet-ID", "observer" or "control". `on_output` gets ("stdout" | "stderr", text) as it comes.
        """
        written: dict[str, list[str]] = {"stdout": [], "stderr": []}
        arguments = {"where": where, "node": node, "argv": list(argv), "limit_seconds": float(timeout_seconds)}
        with closing(self._lines("exec", arguments, timeout_seconds=timeout_seconds + 30)) as lines:
            for line in lines:
                if "result" in line:
                    return ExecResult(line["result"]["exit"], "".join(written["stdout"]), "".join(written["stderr"]))
                for name, text in line.items():
                    written[name].append(text)
                    if on_output:
                        on_output(name, text)
        raise LabError("the lab ended the connection before the command was done")

    def requests(
        self,
        where: str,
        *,
        node: str = "",
        kind: str = "tcp",
        address: str = OBSERVER_ADDRESS,
        port: int | None = None,
        count: int = 1,
        interval_seconds: float = 0,
        hold_seconds: float = 10,
        first_port: int = 0,
    ) -> list[dict[str, Any]]:
        """Make `count` requests ("tcp", "udp" or one long "hold") from inside a container.

        Source ports count up from `first_port`, so that none is used twice; 0 leaves them to the kernel.
        Returns one {"at": epoch seconds, "address": seen outside, "error": text} for each: address or error is "".
        """
        options = {
            "--count": count,
            "--interval": interval_seconds,
            "--seconds": hold_seconds,
            "--first-port": first_port,
        }
        words = [str(word) for pair in options.items() for word in pair]
        argv = [
            "python3",
            "-I",
            "-c",
            Path(caller.__file__).read_text(),
            kind,
            address,
            str(port or PORTS[kind]),
            *words,
        ]
        limit = min(3_600.0, 30 + count * (interval_seconds + caller.TIMEOUT_SECONDS) + hold_seconds)
        result = self.exec(where, argv, node=node, timeout_seconds=limit)
        lines = result.stdout.splitlines()
        if len(lines) != count:
            raise LabError(f"only {len(lines)} of {count} requests were made from {where}: {result.stderr[-500:]}")
        return [json.loads(line) for line in lines]

    def ip(self, where: str, *, node: str = "") -> str:
        """Return the source address that the internet sees of a container. Raises LabError when it gets no answer."""
        (answer,) = self.requests(where, node=node)
        if answer["error"]:
            raise LabError(f"no answer from the internet to {where}: {answer['error']}", code="no_answer")
        return str(answer["address"])

    def expose(self, name: str, *, node_port: int, port: int) -> dict[str, Any]:
        """Forward a node port (30000-32767) of a container's node to its `port`; return the node's address and port."""
        return dict(self.call("expose", name=name, node_port=node_port, port=port))

    def agent(self, node: str, action: str) -> str:
        """Let a node's agent "start", "stop", "kill" (it restarts), "freeze" or "continue", or ask for its "status".

        Returns its state then: "running", "frozen", "stopped", "restarting", or "none" in a lab without agents.
        """
        return str(self.call("agent", node=node, action=action)["agent"])

    def agent_log(self, node: str) -> Path:
        """Return the file that a node's agent logs to."""
        return Path(self.call("agent-log", node=node))

    def bypass(self, node: str, *, on: bool) -> None:
        """Let a node's network forward new containers' packets past netfilter, an unsupported one, or no more."""
        self.call("bypass", node=node, on=on)

    def mark(self, name: str = "") -> str:
        """Remember this moment for `observed` under `name`, or one made up; return the name."""
        name = name or secrets.token_hex(8)
        self.call("mark", name=name)
        return name

    def observed(self, since: str = "") -> Observed:
        """Return what the internet saw since a mark, or since the lab's start."""
        seen = self.call("observed", since=since)
        flows = tuple(Flow(**flow) for flow in seen["flows"])
        calls = tuple(Call(**call) for call in seen["calls"])
        return Observed(flows=flows, calls=calls, missed=seen["missed"], calls_lost=seen["calls_lost"])

    def fault(
        self,
        kind: str,
        *,
        operation: str = "*",
        count: int = 1,
        delay_seconds: float = 5,
        retry_after_seconds: int = 1,
        status: int = 500,
    ) -> None:
        """Make the cloud API fail by `kind` at the next `count` requests for `operation` ("*": any).

        `delay_seconds` belongs to "slow", "late" and "slow_work", `retry_after_seconds` to "rate_limited" (0: untold),
        `status` to "failed_before" and "failed_after". Raises LabError, naming what there is, for an unknown kind or
        operation.
        """
        self.call(
            "fault",
            kind=kind,
            operation=operation,
            count=count,
            delay_seconds=delay_seconds,
            retry_after_seconds=retry_after_seconds,
            status=status,
        )

    def strike(self, kind: str, target: str, *, seconds: float = 0) -> float:
        """Let a fault befall "droplet-ID" or a node, by itself healed after `seconds` if given; only agents can notice.

        Returns when it began, by this machine's monotonic clock. Raises LabError, naming what there is, for an unknown
        kind or target.
        """
        return float(self.call("strike", kind=kind, target=target, seconds=float(seconds))["at"])

    def heal(self, kind: str = "", target: str = "") -> list[dict[str, Any]]:
        """End the faults that stand, all or those of a kind or target; return them as `struck` does."""
        return list(self.call("heal", kind=kind, target=target))

    def struck(self) -> list[dict[str, Any]]:
        """Return the faults that stand: [{"kind": …, "target": …, "since": epoch seconds, 0 where unknown}]."""
        return list(self.call("struck"))

    def droplet_fault(self, kind: str, droplet: int) -> None:
        """Let a fault befall a Droplet now; "power_loss" and "hang" end with a power cycle."""
        self.strike(kind, f"droplet-{droplet}")

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that still wait for a request: [{"kind": …, "operation": …, "left": count}]."""
        return list(self.call("faults"))

    def faults_clear(self) -> None:
        """Drop all faults that are waiting."""
        self.call("faults-clear")

    def container_log(self, name: str) -> list[str]:
        """Return the last lines that a container's own command wrote."""
        return list(self.call("container-log", name=name))

    def console(self, droplet: int) -> list[str]:
        """Return the last lines of a Droplet's console."""
        return list(self.call("console", droplet=droplet))

    def stop(self) -> None:
        """End the lab."""
        self.call("stop")

    def call(self, command: str, **arguments: Any) -> Any:
        """Send one command and return its result."""
        with closing(self._lines(command, arguments, timeout_seconds=self._timeout_seconds)) as lines:
            for line in lines:
                return line["result"]
        raise LabError("the lab ended the connection without an answer", code="no_answer")

    def _lines(
        self, command: str, arguments: dict[str, Any], *, timeout_seconds: float
    ) -> Generator[dict[str, Any], None, None]:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout_seconds)
                connection.connect(self._path)
                connection.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    yield from _decoded(answers)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no lab runs at {self._path}: start ./dev demo first") from None
        except TimeoutError:
            raise LabError(f"the lab didn't answer {command} within {timeout_seconds:g} s", code="timed_out") from None
        except OSError as error:
            raise LabError(f"the lab at {self._path} can't be reached: {error}") from error


def _decoded(answers: IO[bytes]) -> Generator[dict[str, Any], None, None]:
    while content := answers.readline(MAX_LINE_BYTES):
        try:
            line = json.loads(content)
        except ValueError:
            raise LabError("the lab's answer was cut short, or it isn't a lab's") from None
        if "error" in line:
            raise LabError(line["error"], code=line.get("code"))
        yield line
        if "result" in line:
            return
