"""A pytest plugin: what this machine lets the tests do. An ordinary user's run in a user namespace of their own."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from egress.lab.launch import obstacle

ROOT = Path(__file__).resolve().parents[1]
#: /proc/self/uid_map outside all user namespaces.
_ALL_USERS = ["0", "0", "4294967295"]
_CAP_SYS_ADMIN = 21


@cache
def no_namespaces() -> str:
    """Say why the tests can't make network namespaces; "" if they can."""
    return "" if _administers() else f"no namespaces can be made: {obstacle()}"


def _administers() -> bool:
    status = Path("/proc/self/status")
    # Not on a Mac, which has no namespaces either.
    lines = status.read_text().splitlines() if status.exists() else []
    capabilities = [int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")]
    return any(one >> _CAP_SYS_ADMIN & 1 for one in capabilities)


def enter_user_namespace() -> None:
    """Start this very command again in a user namespace, if this is an ordinary user who may have one.

    The user stays who it is, so that what refuses to run as root, as PostgreSQL does, runs. Its network is its own.
    """
    # Those that ask services elsewhere need the machine's own network.
    if _administers() or obstacle() or "SLUICEGATE_TEST_LIVE" in os.environ:
        return
    become = ["unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}", "--keep-caps"]
    script = 'mount -t tmpfs -o mode=755 tests /run && ip link set lo up && exec "$@"'
    command = [*become, "--mount", "--net", "--propagation", "private", "sh", "-c", script, "sh", *sys.orig_argv]
    os.execvp(command[0], command)  # noqa: S606 - arguments are a list


enter_user_namespace()


def ordinary_user(uid: int) -> list[str]:
    """Return what to put before a command so that it runs as an ordinary user without any privilege.

    `uid` should be nobody else's. This checkout and its interpreter can be read there, also where they lie in root's
    own folders.
    """
    if _in_user_namespace():
        # The only other user that this one can make: itself, seen from a further namespace as somebody else.
        return ["unshare", "--user", f"--map-user={uid}", f"--map-group={uid}"]
    if os.geteuid() != 0:
        return []
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    script = f'{_opened((ROOT, Path(sys.prefix), Path(sys.base_prefix)))}\nexec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *drop]


def _in_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() != _ALL_USERS


def without_namespaces() -> list[str]:
    """Return what to put before a command so that it runs as a user whom the kernel lets make no namespace."""
    if no_namespaces():
        return []
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces"
    drop = 'exec setpriv --inh-caps=-all --ambient-caps=-all "$@"'
    become = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps"]
    return [*become, "sh", "-ec", f"{forbid}\n{drop}", "sh"]


def hand_over(folder: Path, uid: int) -> None:
    """Give `folder` to the user that `ordinary_user` makes."""
    if os.geteuid() == 0 and not _in_user_namespace():
        os.chown(folder, uid, uid)


def output(*command: str) -> str:
    """Run `command` in this checkout and return what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _opened(folders: Sequence[Path]) -> str:
    """Return a script that lets all users of this mount namespace into `folders`, and into nothing beside them."""
    behind: dict[Path, list[Path]] = {}
    for folder in {path.resolve() for path in folders}:
        closed = [parent for parent in reversed(folder.parents) if not parent.stat().st_mode & 0o001]
        if closed:
            behind.setdefault(closed[0], []).append(folder)
    lines = []
    for door, rooms in behind.items():
        for number, room in enumerate(rooms, 3):
            lines.append(f"exec {number}<{shlex.quote(str(room))}")
        lines.append(f"mount -t tmpfs -o mode=755 opened {shlex.quote(str(door))}")
        for number, room in enumerate(rooms, 3):
            lines += [
                f"mkdir -p {shlex.quote(str(room))}",
                f"mount --no-canonicalize --bind /proc/self/fd/{number} {shlex.quote(str(room))}",
                f"exec {number}<&-",
            ]
    return "\n".join(lines)
