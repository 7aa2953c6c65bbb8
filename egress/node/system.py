"""What the agent asks of the machine that it runs on, and tells its service manager."""

import os
import socket
from pathlib import Path


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def tell_service_manager(state: str) -> None:
    """Pass `state` on to systemd, if that has started this process and asks for it (sd_notify(3)). Raises OSError."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            # "@" stands for an abstract name.
            manager.connect("\0" + path[1:] if path.startswith("@") else path)
            manager.sendall(state.encode())
