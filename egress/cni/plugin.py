"""The CNI plugin: hand the runtime's call to the node agent and print its answer.

`install` writes it beside a command that runs it: `python -I -S -E`, nothing imported on the way but modules that are
built into the interpreter, because a container's start waits for it. JSON is read only where the agent gives no
answer. Then the list that the agent left on disk decides: a namespace on it must not start without its rules
(error 11, try again later), any other passes as if this plugin weren't there. Without a list none passes.
"""

import posix
from _signal import SIGALRM, alarm, signal  # type: ignore[import-not-found]  # the `signal` module costs an enum
from _socket import AF_UNIX, SOCK_STREAM, socket
from time import monotonic

TYPE_CHECKING = False  # typing costs more to import than all of this file takes to run
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = "/run/sluicegate/cni.sock"
NAMESPACES_FILE = "/var/lib/sluicegate/namespaces"
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
MAX_BYTES = 1024 * 1024
#: A process can't end with more.
MAX_CODE = 255
#: How long an agent may take where the container can start without it, and where it can't.
SHORT_SECONDS = 0.12
LONG_SECONDS = 5.0
#: The end of everything, should a pipe or a file system hang.
LIMIT_SECONDS = 20

BAD_ENVIRONMENT, IO_FAILURE, BAD_INPUT, BAD_CONFIG, TRY_LATER = 4, 5, 6, 7, 11


class Failure(Exception):
    """An error that the runtime shall see: a code of the CNI specification and words."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details = details


def main() -> int:
    """Answer one call of a container runtime; return the exit code."""
    signal(SIGALRM, _out_of_time)
    alarm(LIMIT_SECONDS)
    stdin = b""
    try:
        stdin = _read(0)
        code, output = _answer(posix.environ, stdin)
    except Failure as failure:
        code, output = 1, _error(failure, stdin)
    except OSError as error:
        code, output = 1, _error(Failure(IO_FAILURE, "sluicegate: standard input can't be read", str(error)), stdin)
    while output:
        output = output[posix.write(1, output) :]
    return code


def _out_of_time(_number: int, _frame: object) -> None:
    raise Failure(TRY_LATER, f"sluicegate: not done after {LIMIT_SECONDS} s; is a disk or the runtime's pipe stuck?")


def _answer(env: "Mapping[bytes, bytes]", stdin: bytes) -> tuple[int, bytes]:
    command = env.get(b"CNI_COMMAND", b"")
    if command == b"VERSION":
        return 0, _versions(stdin)
    starting = command in (b"ADD", b"CHECK")
    must_wait = _must_wait(_namespace(env)) if starting else ""
    try:
        return _ask(env, stdin, LONG_SECONDS if must_wait else SHORT_SECONDS)
    except (OSError, ValueError) as error:
        reason = str(error) or "no answer"
    if must_wait:
        raise Failure(TRY_LATER, f"sluicegate: the node agent doesn't answer ({reason}), and {must_wait}", SOCKET)
    if command == b"ADD":
        return 0, _previous_result(stdin)
    if starting or command in (b"DEL", b"GC", b"STATUS"):
        return 0, b""
    raise Failure(BAD_ENVIRONMENT, f"sluicegate: CNI_COMMAND is {command!r}, which is no command of CNI 1.1")


def _read(descriptor: int) -> bytes:
    """Return all that `descriptor` holds; refuse more than a network configuration can be."""
    content = b""
    while chunk := posix.read(descriptor, 65536):
        content += chunk
        if len(content) > MAX_BYTES:
            raise Failure(BAD_INPUT, f"sluicegate: the network configuration is larger than {MAX_BYTES} bytes")
    return content


def _ask(env: "Mapping[bytes, bytes]", stdin: bytes, seconds: float) -> tuple[int, bytes]:
    """Return the agent's exit code and output; OSError or ValueError when none came within `seconds`."""
    variables = b"\0".join(
        [name + b"=" + value for name, value in env.items() if name.startswith(b"CNI_") or name == b"PATH"]
    )
    deadline = monotonic() + seconds
    connection = socket(AF_UNIX, SOCK_STREAM)
    connection.settimeout(seconds)
    connection.connect(SOCKET)
    connection.sendall(b"SG1 %d %d\n%s%s" % (len(variables), len(stdin), variables, stdin))
    answer = b""
    while True:
        # Never 0, which would mean "don't wait" and name another error.
        connection.settimeout(max(deadline - monotonic(), 0.001))
        chunk = connection.recv(65536)
        answer += chunk
        head, newline, output = answer.partition(b"\n")
        if newline:
            magic, code, size = head.split(b" ")
            if magic != b"SG1" or not 0 <= int(size) <= MAX_BYTES or not 0 <= int(code) <= MAX_CODE:
                raise ValueError("its answer is garbage")
            if len(output) >= int(size):
                return int(code), output[: int(size)]
        if not chunk or len(head) > 64:  # noqa: PLR2004 - longer than any true first line
            raise ValueError("its answer is cut short")


def _namespace(env: "Mapping[bytes, bytes]") -> bytes:
    """Return the container's namespace; where the runtime knows none (podman), the container's name."""
    pairs = [pair.partition(b"=") for pair in env.get(b"CNI_ARGS", b"").split(b";")]
    arguments = {name: value for name, _, value in pairs}
    return arguments.get(b"K8S_POD_NAMESPACE") or arguments.get(b"K8S_POD_NAME", b"")


def _must_wait(namespace: bytes) -> str:
    """Return why a container of `namespace` can't start without the agent; "" when it can.

    A node that has never synced, or has lost its state, has no list: there any app may have routes.
    """
    if not namespace:
        return ""  # what has no name can't be listed
    listed = b""
    try:
        descriptor = posix.open(NAMESPACES_FILE, posix.O_RDONLY | posix.O_CLOEXEC)
        while chunk := posix.read(descriptor, MAX_BYTES):
            listed += chunk
    except FileNotFoundError:
        return (
            f"without its list {NAMESPACES_FILE} nobody knows who has dedicated egress: start the agent, "
            "which writes it at its first sync"
        )
    except OSError as error:
        return f"its list of namespaces can't be read ({error})"
    if not listed.startswith(b"#"):
        return f"its list of namespaces is damaged ({NAMESPACES_FILE})"
    if b"\n%s\n" % namespace in listed:
        return f"the namespace {namespace.decode('ascii', 'replace')} has dedicated egress"
    return ""


def _config(stdin: bytes) -> "dict[str, object]":
    import json  # noqa: PLC0415 - only where the agent is silent: it doubles the start

    try:
        config = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise Failure(BAD_INPUT, "sluicegate: the network configuration isn't JSON", str(error)) from None
    if not isinstance(config, dict):
        raise Failure(BAD_INPUT, "sluicegate: the network configuration isn't a JSON object")
    return config


def _previous_result(stdin: bytes) -> bytes:
    import json  # noqa: PLC0415 - as above

    previous = _config(stdin).get("prevResult")
    if not isinstance(previous, dict):
        raise Failure(BAD_CONFIG, "sluicegate: no prevResult: put it after the network's main plugin in the conflist")
    return json.dumps(previous, separators=(",", ":")).encode()


def _versions(stdin: bytes) -> bytes:
    import json  # noqa: PLC0415 - as above

    asked = _config(stdin).get("cniVersion") if stdin.strip() else None
    version = asked if isinstance(asked, str) else VERSIONS[-1]
    return json.dumps({"cniVersion": version, "supportedVersions": VERSIONS}).encode()


def _error(failure: Failure, stdin: bytes) -> bytes:
    import json  # noqa: PLC0415 - as above

    try:
        asked = _config(stdin).get("cniVersion")
    except Failure:
        asked = None
    version = asked if isinstance(asked, str) else VERSIONS[-1]
    answer = {"cniVersion": version, "code": failure.code, "msg": failure.message, "details": failure.details}
    return json.dumps(answer).encode()
