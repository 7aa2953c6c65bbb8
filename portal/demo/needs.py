"""What this machine must have before anything is started: each thing that is missing is one line that says so."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from egress.lab.nodes import PLUGIN_FOLDERS

from .errors import StackError

#: Commands that the stack and its lab run, and Debian's packages that they come from.
TOOLS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "nft": "nftables",
    "conntrack": "conntrack",
}
PLUGINS = ("bridge", "ptp", "host-local")
#: The kernel's bound for the path of a unix socket is 107 bytes; the lab's configuration takes 100.
MAX_SOCKET_PATH_BYTES = 100


def check_machine() -> None:
    """Raise StackError where the stack can't run: not root, or something isn't installed."""
    lacking = missing(TOOLS, shutil.which)
    if not all(any((folder / plugin).exists() for folder in PLUGIN_FOLDERS) for plugin in PLUGINS):
        lacking["CNI plugins"] = "containernetworking-plugins"
    if lacking:
        raise StackError(
            f"Not found on this machine: {', '.join(lacking)}. Install: apt-get install {' '.join(packages(lacking))}"
        )


def missing(tools: Mapping[str, str], find: Callable[[str], str | None]) -> dict[str, str]:
    """Return those of `tools` (command: package) that `find` doesn't find."""
    return {tool: package for tool, package in tools.items() if find(tool) is None}


def packages(lacking: Mapping[str, str]) -> list[str]:
    """Return each package once, in the order of the alphabet."""
    return sorted(set(lacking.values()))


def check_socket_path(path: Path) -> None:
    """Raise StackError when `path` is too long for a unix socket."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise StackError(
            f"The path {path} is too long for a unix socket ({length} bytes of at most {MAX_SOCKET_PATH_BYTES}): "
            "name a shorter folder in SLUICEGATE_STATE_DIR."
        )
