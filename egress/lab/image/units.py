"""Unit files, and the processes that they describe. Runs inside a Droplet, on the standard library alone."""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

UNITS = Path("/etc/systemd/system")
NOTIFY_SOCKET = "/run/lab-notify.sock"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PRE_SECONDS = 30
#: What the lab carries out. Everything else that a unit sets is named on the console and passed over.
KNOWN = {
    "Type",
    "ExecStart",
    "ExecStartPre",
    "Environment",
    "WorkingDirectory",
    "Restart",
    "RestartSec",
    "TimeoutStartSec",
    "WatchdogSec",
    "StateDirectory",
    "StateDirectoryMode",
    "UMask",
    "Nice",
    "StartLimitIntervalSec",
    "StartLimitBurst",
}
_UNIT_SECTION = {"StartLimitIntervalSec", "StartLimitBurst"}
Settings = dict[str, list[str]]


class UnitError(Exception):
    """The unit isn't there or can't be used; `exit` is what systemctl exits with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.exit = code


def read_unit(path: Path) -> Settings:
    """Return a unit file's settings; an empty value clears a list, as in systemd. Raises UnitError."""
    settings: Settings = {}
    section = ""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        text = line.strip()
        key, separator, value = (part.strip() for part in text.partition("="))
        if text.startswith("["):
            section = text
        elif separator and not text.startswith(("#", ";")) and (section == "[Service]" or key in _UNIT_SECTION):
            settings[key] = [*settings.get(key, []), value] if value else []
    passed_over = sorted(settings.keys() - KNOWN)
    if passed_over:
        say(f"{path.name}: the lab passes over {', '.join(passed_over)}")
    if not settings.get("ExecStart"):
        raise UnitError(f"{path.name}: there is no ExecStart in its [Service]")
    return {key: values for key, values in settings.items() if values}


def one(settings: Settings, key: str, default: str = "") -> str:
    """Return the last value of a setting."""
    return settings.get(key, [default])[-1]


def start_unit(name: str, settings: Settings) -> "subprocess.Popen[bytes]":
    """Run a unit's ExecStartPre and start its ExecStart. Raises UnitError."""
    variables = environment(*settings.get("Environment", []))
    variables |= {"NOTIFY_SOCKET": NOTIFY_SOCKET} if one(settings, "Type") == "notify" else {}
    for folder in split(one(settings, "StateDirectory")):
        path = Path("/var/lib", folder)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(int(one(settings, "StateDirectoryMode", "0755"), 8))
        variables["STATE_DIRECTORY"] = str(path)
    folder, umask = one(settings, "WorkingDirectory", "/"), int(one(settings, "UMask", "0022"), 8)
    for command in settings.get("ExecStartPre", []):
        code = _finish(start_process(split(command.removeprefix("-")), variables, folder, umask))
        if code and not command.startswith("-"):
            raise UnitError(f"{name}: ExecStartPre failed ({code}): {command}")
    started = start_process(split(one(settings, "ExecStart")), variables, folder, umask)
    # In a user namespace nobody gets the processor before others.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, started.pid, int(one(settings, "Nice", "0")))
    return started


def start_process(
    command: list[str], variables: dict[str, str], folder: str = "/", umask: int = 0o022
) -> "subprocess.Popen[bytes]":
    """Start a process in its own session, its output on the console. Raises UnitError."""
    try:
        return subprocess.Popen(
            command, env=variables, cwd=folder, umask=umask, stdin=subprocess.DEVNULL, start_new_session=True
        )
    except (OSError, IndexError) as error:
        raise UnitError(f"{' '.join(command) or 'an empty command'} can't be started: {error}") from None


def environment(*assignments: str) -> dict[str, str]:
    """Return a process's environment: systemd's PATH, and a unit's own assignments."""
    pairs = [pair for assignment in assignments for pair in split(assignment)]
    return {"PATH": PATH, "LANG": "C.UTF-8", **dict(pair.split("=", 1) for pair in pairs if "=" in pair)}


def split(text: str) -> list[str]:
    """Return the words of a setting. Raises UnitError for quotes that don't end."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UnitError(f"{text}: {error}") from None


def seconds(text: str) -> float:
    """Return a time span of a unit file, in seconds; s and ms are known. Raises UnitError."""
    number = text.removesuffix("ms").removesuffix("s")
    try:
        return float(number) / (1000 if text.endswith("ms") else 1)
    except ValueError:
        raise UnitError(f"the lab doesn't know the time span {text!r}: give seconds") from None


def apply_sysctls(folder: Path = Path("/etc/sysctl.d")) -> None:
    """Apply the settings below net., as systemd does at every boot; others belong to the machine round the lab."""
    for path in sorted(folder.glob("*.conf")):
        for line in path.read_text().splitlines():
            name, _, value = line.strip().lstrip("-").partition("=")
            setting = Path("/proc/sys", name.strip().replace(".", "/"))
            if name.startswith("net.") and setting.exists():
                setting.write_text(value.strip())


def reap_orphans(own: "dict[int, subprocess.Popen[bytes]]") -> None:
    """Reap processes that were left to PID 1; its own children are `own`, whose exit codes subprocess collects."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        if ended.si_pid in own:
            own[ended.si_pid].poll()
        else:
            os.waitpid(ended.si_pid, 0)


def say(text: str) -> None:
    """Write a line to the console."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finish(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait(PRE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
