"""Tell systemd how the agent is, where systemd wants to know (see sd_notify(3))."""

import os
import socket


def notify(message: str) -> None:
    """Send `message`, such as "READY=1", to the service manager; without one that listens, do nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    # A leading "@" stands for the null byte of an abstract address.
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        try:
            manager.sendto(message.encode(), address)
        except OSError:
            return  # the manager is restarting itself: the next message will do
