"""Install the CNI plugin on a node, and chain it into a network: `python -m egress.cni.install --help`."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from . import plugin
from .conflist import NAME, ConflistError, conflist_with_plugin, parse_conflist

__all__ = ["ConflistError", "InstallError", "chain", "conflist_with_plugin", "install_plugin", "main"]

#: The kernel reads no longer first line of a script (BINPRM_BUF_SIZE).
MAX_FIRST_LINE = 255
OPTIONS = "-ISE"  # one word: a script's first line passes at most one argument
#: The module's folder, beside the command wherever a runtime sees that.
FOLDER = ".sluicegate"
MODULE = "sluicegate_cni.py"
COMMAND = f'''#!INTERPRETER {OPTIONS}
"""Sluicegate's CNI plugin. What it does is in {FOLDER}, compiled: that takes longer than doing it."""

import posix
import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/{FOLDER}")

from sluicegate_cni import main

posix._exit(main())
'''
#: By content: a module that is replaced within the same second has the same time and maybe the same size.
_COMPILE = """
import sys
from py_compile import PycInvalidationMode, compile
compile(sys.argv[1], doraise=True, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
"""
_COMPILE_SECONDS = 30


class InstallError(Exception):
    """The plugin can't be installed; the message says why and what to change."""


def install_plugin(bin_dir: Path, *, interpreter: Path, socket: Path, namespaces_file: Path) -> Path:
    """Write the plugin into `bin_dir` and return its path; a runtime sees an old file or a new one, nothing between.

    `interpreter` is a python3 of 3.11 or newer; the system's own starts faster than a virtual environment's. Another
    one that takes its place compiles the module again by itself. Raises InstallError.
    """
    for what, path in (("interpreter", interpreter), ("socket", socket), ("namespaces file", namespaces_file)):
        if not path.is_absolute():
            raise InstallError(f"the {what} {path} must be an absolute path: the runtime's folder and PATH are its own")
    if not os.access(interpreter, os.X_OK):
        raise InstallError(f"the interpreter {interpreter} can't be executed")
    command = COMMAND.replace("INTERPRETER", str(interpreter), 1)
    if len(os.fsencode(command.partition("\n")[0])) > MAX_FIRST_LINE or any(
        mark in str(interpreter) for mark in " \t\n"
    ):
        raise InstallError(f"the interpreter's path {interpreter} has spaces or is too long for a script's first line")
    module = bin_dir / FOLDER / MODULE
    _replace(module, _source(socket, namespaces_file).encode(), 0o644)
    _compile(interpreter, module)
    target = bin_dir / NAME
    _replace(target, command.encode(), 0o755)
    return target


def chain(path: Path) -> bool:
    """Chain the plugin into the configuration list in `path`; return False when it was there already.

    Raises ConflistError and InstallError.
    """
    try:
        old = parse_conflist(path.read_bytes())
    except OSError as error:
        raise InstallError(f"{path}: {error.strerror}") from None
    new = conflist_with_plugin(old)
    if new == old:
        return False
    _replace(path, (json.dumps(new, indent=2) + "\n").encode(), path.stat().st_mode & 0o777)
    return True


def _check_synced(namespaces_file: Path) -> None:
    """Raise InstallError on a node that hasn't synced: with the plugin in its networks no container would start."""
    if not namespaces_file.exists():
        raise InstallError(
            f"{namespaces_file} is missing: the node agent, which writes it at its first sync, hasn't synced yet. "
            "Start it, wait for the file, then chain the plugin"
        )


def _source(socket: Path, namespaces_file: Path) -> str:
    """Return the plugin's source with its two paths in place."""
    source = Path(plugin.__file__).read_text()
    for name, value in (("SOCKET", socket), ("NAMESPACES_FILE", namespaces_file)):
        default = f"\n{name} = {json.dumps(getattr(plugin, name))}\n"
        if source.count(default) != 1:
            raise InstallError(f"{plugin.__file__} isn't the plugin that this installer belongs to")
        source = source.replace(default, f"\n{name} = {json.dumps(str(value))}\n")
    return source


def _compile(interpreter: Path, module: Path) -> None:
    """Have `module` compiled by the interpreter that will run it."""
    argv = [str(interpreter), "-I", "-c", _COMPILE, str(module)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{interpreter} can't compile {module}: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InstallError(f"{interpreter} can't compile {module}: {last[:300]}; is it Python 3.11 or newer?")


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InstallError(f"{path}: can't be written: {error.strerror}") from None


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m egress.cni.install", description="Install Sluicegate's CNI plugin."
    )
    parser.add_argument("--bin-dir", type=Path, default=Path("/opt/cni/bin"), help="the runtime's folder of plugins")
    parser.add_argument("--interpreter", type=Path, default=Path("/usr/bin/python3"))
    parser.add_argument("--socket", type=Path, default=Path(plugin.SOCKET), help="RUN_DIR/cni.sock of the node agent")
    parser.add_argument(
        "--namespaces-file",
        type=Path,
        default=Path(plugin.NAMESPACES_FILE),
        help="STATE_DIR/namespaces of the node agent",
    )
    parser.add_argument(
        "--conflist",
        type=Path,
        action="append",
        default=[],
        help="chain the plugin into this network, once the node has synced",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = _arguments(arguments)
    place = ""
    try:
        if given.conflist:
            _check_synced(given.namespaces_file)
        target = install_plugin(
            given.bin_dir,
            interpreter=given.interpreter,
            socket=given.socket,
            namespaces_file=given.namespaces_file,
        )
        sys.stdout.write(f"installed {target}\n")
        for path in given.conflist:
            place = f"{path}: "
            sys.stdout.write(f"{path}: {'chained' if chain(path) else 'was chained already'}\n")
    except ConflistError as error:
        sys.stderr.write(f"{place}{error}\n")
        return 1
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
