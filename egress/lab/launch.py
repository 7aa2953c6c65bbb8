"""How to start the lab from outside, and whether that can be done here at all."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

#: Whoever isn't root is in a user namespace of their own, and nobody outside is any the wiser.
USER_NAMESPACE = ("--user", "--map-root-user")
_NAMESPACES = (
    "--mount",
    "--pid",
    "--net",
    "--fork",
    "--kill-child=SIGKILL",
    "--mount-proc",
    "--propagation",
    "private",
)
_PROBE_SECONDS = 20
#: A little of everything that a lab does, in namespaces that end with it: a place for itself, a network with a cable
#: and a table, a Droplet's root.
_PROBE = r"""
set -e
mount -t tmpfs probe /run
ip netns add probe
ip link add probe0 type veth peer name probe1 netns probe
nsenter --net=/run/netns/probe nft add table ip probe
mkdir /run/upper /run/work /run/root
read -r _ _ ids < /proc/self/uid_map
notes=
[ "$ids" = 4294967295 ] || notes=,userxattr
mount -t overlay overlay -o "lowerdir=/usr,upperdir=/run/upper,workdir=/run/work$notes" /run/root
mount -t sysfs sysfs /sys
"""


def lab_command(config: Path, *, packets: bool = True) -> list[str]:
    """Return the command that runs a lab from the file `config`; `packets` is whether that isn't one of recording.

    A lab with packets lives in mount, process and network namespaces of its own, under this command's process; an
    ordinary user's in a user namespace, too. However that process ends, all of the lab ends with it. To end it in
    order, let its process group have SIGTERM (`unshare` itself blocks that signal, so one to its id alone does
    nothing), or call `LabClient.stop`.
    """
    return [*(unshare() if packets else ()), sys.executable, "-m", "egress.lab", "--config", str(config)]


def unshare() -> list[str]:
    """Return what to put before a command so that it is the first process of namespaces of its own, and root there."""
    return ["unshare", *(() if os.geteuid() == 0 else USER_NAMESPACE), *_NAMESPACES]


def enter_network(lab_pid: int, place: str) -> list[str]:
    """Return what to put before a command so that it runs in a network of the lab whose process is `lab_pid`."""
    process = Path("/proc", str(lab_pid))
    root = process / "root"  # the root folder that it sees
    into = ["nsenter", f"--net={root}/run/netns/{place}"]
    if os.geteuid() != 0:
        # The owner of a user namespace may enter it, and is root of its networks then.
        into += [f"--user={process}/ns/user", "--preserve-credentials"]
    return into


@cache
def obstacle() -> str:
    """Say why this process can make no lab, in the words of what failed; "" if it can. Takes some 50 ms, once."""
    try:
        done = subprocess.run(
            [*unshare(), "sh", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    words = (done.stderr or done.stdout).strip().splitlines()
    return words[0] if words else f"unshare ended with {done.returncode}"
