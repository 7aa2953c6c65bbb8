"""A pytest plugin: what this machine lets the tests do. An ordinary user's run in a user namespace of their own."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from egress.lab.launch import USER_NAMESPACE, obstacle

ROOT = Path(__file__).resolve().parents[1]
#: Lines of /proc/self/uid_map outside all user namespaces.
_ALL_USERS = ["0", "0", "4294967295"]


@cache
def no_namespaces() -> str:
    """Say why no network namespaces can be made here; "" if they can."""
    reason = obstacle()
    return f"no namespaces can be made: {reason}" if reason else ""


def in_user_namespace() -> bool:
    """Tell whether this is root only of a user namespace."""
    return Path("/proc/self/uid_map").read_text().split() != _ALL_USERS


def enter_user_namespace() -> None:
    """Start this very command again as root of a user namespace, if this is an ordinary user who may have one.

    The network stays the machine's, so that browsers and servers on loopback are where they were.
    """
    if os.geteuid() == 0 or no_namespaces():
        return
    script = 'mount -t tmpfs -o mode=755 tests /run && exec "$@"'
    command = ["unshare", *USER_NAMESPACE, "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    sys.stdout.flush()
    os.execvp(command[0], [*command, *sys.orig_argv])  # noqa: S606 - arguments are a list


enter_user_namespace()


def ordinary_user(uid: int) -> list[str]:
    """Return what to put before a command so that it runs as an ordinary user without any privilege.

    `uid` should be nobody else's. This checkout and its interpreter can be read there, also where they lie in root's
    own folders.
    """
    if os.geteuid() != 0:
        return []
    if in_user_namespace():
        # The only other user that this one can make: itself, seen from a further namespace as somebody else.
        return ["unshare", "--user", f"--map-user={uid}", f"--map-group={uid}"]
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    script = f'{_opened((ROOT, Path(sys.prefix), Path(sys.base_prefix)))}\nexec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *drop]


def hand_over(folder: Path, uid: int) -> None:
    """Give `folder` to the user that `ordinary_user` makes."""
    if os.geteuid() == 0 and not in_user_namespace():
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
