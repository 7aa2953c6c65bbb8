"""What this machine must have for packets to be steered on it: whatever is missing is one line that says so."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from egress.lab import launch
from egress.lab.agents import PLUGIN_FOLDERS

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
#: What most often forbids namespaces: to root a container, to ordinary users also a distribution's settings.
ROOTS_WAY_OUT = "Root needs the capability CAP_SYS_ADMIN for that, which containers take away."
USERS_WAY_OUT = (
    "Run it as root, or let users make them: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns."
)
#: The kernel's bound for the path of a unix socket is 107 bytes; the lab's configuration takes 100.
MAX_SOCKET_PATH_BYTES = 100


def obstacle() -> str:
    """Say in a line what keeps this machine from steering packets, and what to do about it; "" when nothing does."""
    lacking = missing(TOOLS, shutil.which)
    if not all(any((folder / plugin).exists() for folder in PLUGIN_FOLDERS) for plugin in PLUGINS):
        lacking["CNI plugins"] = "containernetworking-plugins"
    if lacking:
        wanted = " ".join(packages(lacking))
        return f"Not found on this machine: {', '.join(lacking)}. As root: apt-get install {wanted}"
    if reason := launch.obstacle():
        way_out = USERS_WAY_OUT if os.geteuid() else ROOTS_WAY_OUT
        return f"No namespaces can be made on this machine ({reason}). {way_out}"
    return ""


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
