"""Make requests from wherever this runs and print the address that the other end saw, a line of JSON for each.

A file to run by its path in a container of the lab; standard library only. A line is
{"at": epoch seconds, "address": "…", "error": ""}, with an address or an error.
"""

import argparse
import json
import socket
import sys
import time

TIMEOUT_SECONDS = 5


def main() -> int:
    """Return 0 when every request was answered."""
    options = _options()
    failed = False
    for number in range(options.count):
        if number:
            time.sleep(options.interval)
        if options.first_port:
            options.source_port = options.first_port + number
        try:
            address, error = CALLS[options.kind](options), ""
        except OSError as problem:
            address, error, failed = "", str(problem) or type(problem).__name__, True
        print(json.dumps({"at": time.time(), "address": address, "error": error}), flush=True)  # noqa: T201
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=CALLS, help="hold: one connection that is read from for --seconds")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--interval", type=float, default=0, help="seconds between two requests")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--first-port", type=int, default=0, help="count source ports up from here; 0: the kernel's")
    parser.set_defaults(source_port=0)
    return parser.parse_args()


def _tcp(options: argparse.Namespace) -> str:
    with _request(options, "/") as connection:
        return _body(connection.makefile("rb").read())


def _udp(options: argparse.Namespace) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(TIMEOUT_SECONDS)
        udp.bind(("", options.source_port))
        udp.connect((options.address, options.port))
        udp.send(b"who am I?")
        return udp.recv(2048).decode().split()[0]


def _hold(options: argparse.Namespace) -> str:
    with _request(options, f"/hold?seconds={options.seconds}") as connection:
        content = connection.makefile("rb").read()
    if not content.endswith(b"0\r\n\r\n"):
        raise ConnectionError("the connection ended before its time")
    return content.partition(b"\r\n\r\n")[2].split(b"\r\n")[1].decode().strip()


def _request(options: argparse.Namespace, path: str) -> socket.socket:
    source = ("", options.source_port)
    connection = socket.create_connection((options.address, options.port), TIMEOUT_SECONDS, source_address=source)
    request = f"GET {path} HTTP/1.1\r\nHost: {options.address}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    return connection


def _body(content: bytes) -> str:
    head, _, body = content.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(f"answered {head[:60].decode(errors='replace')!r}")
    return body.decode().strip()


CALLS = {"tcp": _tcp, "udp": _udp, "hold": _hold}

if __name__ == "__main__":
    sys.exit(main())
