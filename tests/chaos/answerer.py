"""The observer's end of the load: tells every caller its address. A file to run by its path, standard library only.

TCP: one connection, one answer; on the next port, echoes what it gets, after a line with the caller's address.
UDP, on the first port at each of the addresses given: the datagram, and the address that it came from.
"""

import contextlib
import selectors
import socket
import sys

PORT, STREAM_PORT = 8101, 8102
BACKLOG = 1024


def main(addresses: list[str]) -> None:
    """Answer until killed."""
    selector = selectors.DefaultSelector()
    answers, streams = (socket.create_server(("", port), backlog=BACKLOG) for port in (PORT, STREAM_PORT))
    datagrams = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in addresses]
    for udp, address in zip(datagrams, addresses, strict=True):
        udp.bind((address, PORT))
    for each, handle in ((answers, answer), (streams, begin), *((udp, echo) for udp in datagrams)):
        each.setblocking(False)
        selector.register(each, selectors.EVENT_READ, handle)
    while True:
        for key, _ in selector.select():
            # Whoever has gone meanwhile is no concern of the others.
            with contextlib.suppress(OSError):
                key.data(key.fileobj, selector)


def answer(listening: socket.socket, _: selectors.BaseSelector) -> None:
    """Tell the caller its address and be done."""
    caller, address = listening.accept()
    with caller:
        caller.send(address[0].encode() + b"\n")


def begin(listening: socket.socket, selector: selectors.BaseSelector) -> None:
    """Tell the caller its address and go on with it."""
    caller, address = listening.accept()
    caller.setblocking(False)
    caller.send(address[0].encode() + b"\n")
    selector.register(caller, selectors.EVENT_READ, go_on)


def go_on(caller: socket.socket, selector: selectors.BaseSelector) -> None:
    """Send back what came."""
    try:
        content = caller.recv(4096)
    except OSError:
        content = b""
    if content:
        caller.send(content)
    else:
        selector.unregister(caller)
        caller.close()


def echo(udp: socket.socket, _: selectors.BaseSelector) -> None:
    """Send back a datagram and its sender's address."""
    content, sender = udp.recvfrom(2048)
    udp.sendto(content + b" " + sender[0].encode(), sender)


if __name__ == "__main__":
    main(sys.argv[1:])
