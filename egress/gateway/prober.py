"""Answer nodes' probes on the private address: genuine ones only, and only while there is a key."""

import logging
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from egress.wire import probe

from .keeper import Keeper

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 1.0


def answer_probes(keeper: Keeper, flags: Callable[[], int], boot_id: str) -> NoReturn:
    """Answer with what `flags` says, on whatever private address the keeper last found.

    The ruleset lets in only what clients send, so many a second from each: see `ruleset.PROBES_PER_SECOND`.
    """
    trouble = ""
    while True:
        address = keeper.status.private_address
        if not address:
            time.sleep(0.05)
            continue
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as responder:
                responder.bind((address, probe.PORT))
                responder.settimeout(_LOOK_AGAIN_SECONDS)
                log.info("answering probes on %s:%d", address, probe.PORT)
                trouble = ""
                _serve(responder, address, keeper, flags, boot_id)
        except OSError as error:
            if str(error) != trouble:
                trouble = str(error)
                log.warning("probes can't be answered on %s:%d: %s", address, probe.PORT, trouble)
            time.sleep(_LOOK_AGAIN_SECONDS)


def _serve(responder: socket.socket, address: str, keeper: Keeper, flags: Callable[[], int], boot_id: str) -> None:
    while keeper.status.private_address == address:
        try:
            datagram, sender = responder.recvfrom(probe.REQUEST_BYTES + 1)
        except TimeoutError:
            continue
        reply = answer(keeper.status.probe_key, flags, boot_id, datagram)
        if reply:
            try:
                responder.sendto(reply, sender)
            except OSError as error:
                # A node whose link is down must not keep the others waiting.
                log.debug("the probe of %s can't be answered: %s", sender[0], error)


def answer(key: bytes, flags: Callable[[], int], boot_id: str, datagram: bytes) -> bytes | None:
    """Return the answer to `datagram`, None when it deserves none."""
    nonce = probe.read_request(key, datagram) if key else None
    return None if nonce is None else probe.answer(key, nonce, flags=flags(), boot_id=boot_id)
