"""One container's load: a fresh connection every few milliseconds, and some that last; it notes what becomes of each.

A file to run by its path in a container, standard library only. Lines, times by the machine's monotonic clock:

    a START SECONDS ADDRESS     an attempt; "-" instead of the address that the other end saw: it failed
    o KIND AT ADDRESS           a lasting connection ("active", "idle") is open
    p KIND AT ADDRESS           it got an answer; UDP, which has no opening and no end, has these only
    e KIND AT ADDRESS REASON    it ended, and not by our own doing
    i PID                       the first line: this process, in its own process namespace

SIGUSR1: all lasting ones are closed and begun anew.
"""

import argparse
import errno
import math
import os
import selectors
import signal
import socket
import struct
import sys
import time
from typing import TextIO

SPEAK_SECONDS = 0.1
AGAIN_SECONDS = 0.2
WRITE_SECONDS = 0.1
#: Closing resets: no side keeps the connection in mind, nor does any router on the way.
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Attempt:
    """A fresh connection that lasts until the answer."""

    def __init__(self, measurer: "Measurer") -> None:
        self.measurer = measurer
        self.began = time.monotonic()
        self.socket = measurer.connect(measurer.options.port)

    def ready(self) -> None:
        """Take in the answer."""
        try:
            address = self.socket.recv(100).decode().strip()
        except OSError:
            address = ""
        self.end(address)

    def end(self, address: str) -> None:
        """Write down what came of it."""
        self.measurer.write(f"a {self.began:.4f} {time.monotonic() - self.began:.4f} {address or '-'}")
        self.measurer.attempts.pop(self.socket, None)
        self.measurer.drop(self.socket)


class Stream:
    """A lasting TCP connection; an idle one is silent once it is open."""

    def __init__(self, measurer: "Measurer", kind: str) -> None:
        self.measurer, self.kind = measurer, kind
        self.socket: socket.socket | None = None
        self.address = ""
        self.again_at = self.began_at = 0.0

    def begin(self) -> None:
        """Open it (anew)."""
        self.began_at = time.monotonic()
        if self.socket is not None:
            self.measurer.drop(self.socket)
        self.socket, self.address = self.measurer.connect(self.measurer.options.port + 1, self), ""
        self.again_at = time.monotonic() + AGAIN_SECONDS

    def ready(self) -> None:
        """Take in what came, or its end."""
        assert self.socket
        try:
            content = self.socket.recv(4096)
            reason = "" if content else "closed"
        except OSError as error:
            content, reason = b"", errno.errorcode.get(error.errno or 0, "error")
        if reason:
            if self.address:
                self.say("e", reason)
            self.begin_later()
        elif not self.address:
            self.address = content.decode().split()[0]
            self.say("o")
        else:
            self.say("p")

    def begin_later(self) -> None:
        """Drop it, and open another one soon."""
        assert self.socket
        self.measurer.drop(self.socket)
        self.socket = None
        self.again_at = time.monotonic() + AGAIN_SECONDS

    def tick(self, now: float) -> None:
        """Speak, or try again to get through."""
        if not self.address or self.socket is None:
            if now >= self.again_at:
                self.begin()
        elif now - self.began_at > self.measurer.options.life:
            self.begin()
        elif self.kind == "active":
            try:
                self.socket.send(b".")
            except BlockingIOError:
                return
            except OSError:
                self.ready()

    def say(self, what: str, *more: str) -> None:
        """Write a line on it."""
        self.measurer.write(" ".join([what, self.kind, f"{time.monotonic():.4f}", self.address, *more]))


class Datagrams:
    """A connected UDP socket that asks all the time."""

    def __init__(self, measurer: "Measurer", kind: str) -> None:
        self.measurer, self.kind = measurer, kind
        self.socket: socket.socket | None = None

    def begin(self) -> None:
        """Begin with a new port."""
        if self.socket is not None:
            self.measurer.drop(self.socket)
        options = self.measurer.options
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((options.address, options.port))
        self.measurer.selector.register(self.socket, selectors.EVENT_READ, self)

    def ready(self) -> None:
        """Take in an answer; a refusal is silence."""
        assert self.socket
        try:
            answer = self.socket.recv(2048).decode().split()
        except OSError:
            return
        self.measurer.write(f"p {self.kind} {time.monotonic():.4f} {answer[-1]}")

    def tick(self, _: float) -> None:
        """Ask."""
        assert self.socket
        try:
            self.socket.send(b".")
        except OSError:
            return


class Measurer:
    """All of it, in one loop."""

    def __init__(self, options: argparse.Namespace, out: TextIO) -> None:
        self.options, self.out = options, out
        self.selector = selectors.DefaultSelector()
        self.attempts: dict[socket.socket, Attempt] = {}
        kinds = {"active": Stream, "idle": Stream, "udp": Datagrams}
        self.lasting = [kinds[kind](self, kind) for kind in options.lasting]
        self.lines = [f"i {os.getpid()}"]
        self.renew = True
        signal.signal(signal.SIGUSR1, self._renew)

    def _renew(self, *_: object) -> None:
        self.renew = True

    def connect(self, port: int, handler: object = None) -> socket.socket:
        """Begin a connection; its handler is called when something came. One that fails at once looks the same."""
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setblocking(False)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        tcp.connect_ex((self.options.address, port))
        self.selector.register(tcp, selectors.EVENT_READ, handler)
        return tcp

    def drop(self, one: socket.socket) -> None:
        """Close it."""
        self.selector.unregister(one)
        one.close()

    def write(self, line: str) -> None:
        """Note a line, to be written soon."""
        self.lines.append(line)

    def run(self) -> None:
        """Measure until killed."""
        next_at = speak_at = write_at = time.monotonic()
        while True:
            if self.renew:
                self.renew = False
                for one in self.lasting:
                    one.begin()
            for key, _ in self.selector.select(max(0.0, next_at - time.monotonic())):
                (key.data or self.attempts[key.fileobj]).ready()
            now = time.monotonic()
            for attempt in [one for one in self.attempts.values() if now - one.began > self.options.timeout]:
                attempt.end("")
            if now >= next_at:
                # One that comes late, since others had the processor, isn't made up for.
                next_at = max(next_at + self.options.interval, now)
                attempt = Attempt(self)
                self.attempts[attempt.socket] = attempt
            if now >= speak_at:
                speak_at = now + SPEAK_SECONDS
                for one in self.lasting:
                    one.tick(now)
            if now >= write_at and self.lines:
                write_at = now + WRITE_SECONDS
                self.out.write("\n".join(self.lines) + "\n")
                self.out.flush()
                self.lines.clear()


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="the other end")
    parser.add_argument("port", type=int, help="for attempts and datagrams; the next one is for what lasts")
    parser.add_argument("out", type=argparse.FileType("w"))
    parser.add_argument("--interval", type=float, default=0.01, help="seconds between two attempts")
    parser.add_argument("--timeout", type=float, default=0.05, help="seconds after which an attempt has failed")
    parser.add_argument("--lasting", nargs="*", default=["active", "idle", "udp"], help="what lasts beside them")
    parser.add_argument("--life", type=float, default=math.inf, help="seconds after which a lasting connection is over")
    options = parser.parse_args()
    Measurer(options, options.out).run()


if __name__ == "__main__":
    sys.exit(main())
