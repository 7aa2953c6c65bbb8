"""Network namespaces by name, as `ip netns` keeps them; all in the lab's own /run."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from .process import check

T = TypeVar("T")

FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


async def ip(lines: Iterable[str], *, namespace: str = "") -> None:
    """Carry out iproute2 commands as one batch, in a namespace or in the lab's own."""
    where = ["-n", namespace] if namespace else []
    await check(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n")


async def nft(namespace: str, ruleset: str) -> None:
    """Apply `ruleset` in one transaction inside a namespace."""
    await check([*inside(namespace), "nft", "-f", "-"], stdin=ruleset)


def inside(namespace: str) -> list[str]:
    """Return what to put before a command so that it runs in a namespace's network and nothing else changes."""
    return ["nsenter", f"--net={FOLDER / namespace}", "--"]


def open_in(namespace: str, make: Callable[[], T]) -> T:
    """Return `make()`, called in a namespace. What it opens (sockets) stays there.

    A thread of its own enters the namespace and ends there, so no other code ever runs in the wrong one.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def enter() -> None:
        try:
            descriptor = os.open(FOLDER / namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(descriptor, _CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), namespace)
            finally:
                os.close(descriptor)
            results.append(make())
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=enter, name=f"netns {namespace}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def set_sysctls(namespace: str, values: Mapping[str, str]) -> None:
    """Write sysctls below net/ ("ipv4/ip_forward") in a namespace, those that the kernel has."""

    def write() -> None:
        for name, value in values.items():
            path = Path("/proc/sys/net") / name
            if path.exists():
                path.write_text(value)

    open_in(namespace, write)


def mac_of(address: str) -> str:
    """Return the MAC that belongs to an IPv4 address: a machine that boots again keeps its neighbours' caches right."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
