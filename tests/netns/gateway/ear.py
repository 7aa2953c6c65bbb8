"""A node that asks a gateway how it is, and what to do to the internet meanwhile."""

import os
import time
from collections.abc import Callable

from egress.wire import probe

from .plane import PROBE_KEY
from .world import PRIVATE, World, eventually, run

KEY = bytes.fromhex(PROBE_KEY)
TARGETS = ("1.1.1.1", "8.8.8.8", "9.9.9.9")
Says = Callable[[probe.Answer], bool]


class Ear:
    """What the gateway answers to probes."""

    def __init__(self, world: World) -> None:
        self._socket = world.udp(world.node)
        self._socket.settimeout(1)

    def hear(self) -> probe.Answer | None:
        nonce = os.urandom(probe.NONCE_BYTES)
        try:
            self._socket.sendto(probe.request(KEY, nonce), (PRIVATE, probe.PORT))
            while True:
                answer = probe.read_answer(KEY, self._socket.recv(1000))
                if answer and answer.nonce == nonce:
                    return answer
        except OSError:
            return None

    def wait(self, what: str, says: Says) -> None:
        """Wait until it says so. The bound is generous; how long it takes is in docs/adr/0018."""

        def so() -> bool:
            answer = self.hear()
            return answer is not None and says(answer)

        eventually(so, what=what)

    def always(self, says: Says, *, seconds: float) -> bool:
        """Tell whether all that is heard for so long says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.hear()
            if answer is None or not says(answer):
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        self._socket.close()


def well(answer: probe.Answer) -> bool:
    return answer.flags == probe.FORWARDING


def no_link(answer: probe.Answer) -> bool:
    return not answer.link


def no_internet(answer: probe.Answer) -> bool:
    return not answer.internet


def add_targets(world: World) -> None:
    """Put three hosts that answer pings into the internet."""
    for address in TARGETS:
        run("ip", "-n", world.internet, "address", "add", f"{address}/32", "dev", "lo")


def in_internet(world: World, rules: str) -> None:
    run("ip", "netns", "exec", world.internet, "nft", "-f", "-", text=rules)


def deafen(world: World, match: str) -> None:
    """Have the internet drop what fits `match` from now on."""
    chain = "add table inet deaf\nadd chain inet deaf in { type filter hook prerouting priority -400; }\n"
    in_internet(world, f"{chain}add rule inet deaf in {match} drop\n")


def undeafen(world: World) -> None:
    in_internet(world, "delete table inet deaf\n")


def unplug_next_hop(world: World) -> None:
    """Take the next hop from behind a link that stays up: whatever reaches it is lost, ARP included."""
    chain = "add chain netdev gone in { type filter hook ingress device eth0 priority 0; policy drop; }\n"
    in_internet(world, f"add table netdev gone\n{chain}")


def plug_in_next_hop(world: World) -> None:
    in_internet(world, "delete table netdev gone\n")
