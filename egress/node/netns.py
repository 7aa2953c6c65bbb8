"""Look into containers' network namespaces."""

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterator

from egress.netkit.desired import Pod

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def holds(pod: Pod) -> bool:
    """Return whether `pod`'s namespace exists and holds its address; True when that can't be told.

    Enters the namespace with the calling thread and comes back; about 50 µs.
    """
    if not pod.netns:
        return _has_link(pod.interface) if pod.interface else True
    try:
        inside = os.open(pod.netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    try:
        with entered(inside):
            return not pod.address or _is_local(pod.address)
    except OSError as error:
        # EINVAL: the file that the namespace was mounted on is still there, the namespace isn't.
        return error.errno != errno.EINVAL
    finally:
        os.close(inside)


@contextlib.contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Have the calling thread in the network namespace that the file `namespace` names. Raises OSError."""
    home = _own()
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


@contextlib.contextmanager
def fresh() -> Iterator[int]:
    """Give a file that names a new network namespace; closing it ends that, and so does the end of the process."""
    home = _own()
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            made = _own()
        finally:
            _enter(home)
    finally:
        os.close(home)
    try:
        yield made
    finally:
        os.close(made)


def _own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    _check(_libc.setns(namespace, _CLONE_NEWNET))


def _check(failed: int) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _is_local(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _has_link(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
