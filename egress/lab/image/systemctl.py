"""`systemctl` inside a lab Droplet: hand the arguments to the lab's PID 1, print its answer."""

import json
import socket
import sys

SOCKET = "/run/lab-init.sock"


def main() -> int:
    """Return what systemctl would exit with."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(SOCKET)
    connection.sendall(json.dumps(sys.argv[1:]).encode() + b"\n")
    answer = json.loads(connection.makefile("rb").read())
    if not {"-q", "--quiet"} & set(sys.argv):
        asks = {"status", "is-active", "is-enabled", "is-system-running"} & set(sys.argv)
        (sys.stderr if answer["exit"] and not asks else sys.stdout).write(answer["output"])
    return int(answer["exit"])


if __name__ == "__main__":
    sys.exit(main())
