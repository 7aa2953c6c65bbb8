"""Thousands of frames that nobody thought of: known attacks, bent at random. The seed is the same in every run."""

import random

import pytest
from attacks import ATTACKS, Scene
from lair import Lair, victims_by_the_node

pytestmark = pytest.mark.netns
BLOCK = 500


def bent(dice: random.Random, frame: bytes) -> bytes:
    """Return `frame` with some bytes of its heads changed, copied from elsewhere in it, cut or put in."""
    content = bytearray(frame)
    for _ in range(dice.choice((0, 1, 1, 2, 4, 8))):
        at = dice.randrange(12, min(len(content), 60))
        match dice.randrange(5):
            case 0:
                content[at] = dice.randrange(256)
            case 1:
                content[at] ^= 1 << dice.randrange(8)
            case 2:
                source = dice.randrange(0, len(content) - 4)
                content[at : at + 4] = content[source : source + 4]
            case 3:
                content[at:at] = dice.randbytes(dice.choice((2, 4, 8)))
            case _:
                del content[at : at + dice.choice((1, 2, 4))]
    return bytes(content[: dice.choice((1500, 1500, 1500, 60, 34))]).ljust(14, b"\0")


@pytest.mark.parametrize(
    "blocks",
    [pytest.param(4, id="short"), pytest.param(400, id="long", marks=[pytest.mark.full, pytest.mark.timeout(900)])],
)
@pytest.mark.parametrize(("liar", "victim"), [("blog1", "shop1"), ("blog2", "shop2"), ("blog2", "shop1")])
def test_no_bent_frame_leaves_by_the_pair(lair: Lair, liar: str, victim: str, blocks: int) -> None:
    dice = random.Random(f"{liar} against {victim}")  # noqa: S311 - the same in every run, on purpose
    scene = Scene(lair.places[liar], lair.places[victim])
    straight = [frame for attack in ATTACKS.values() for frame in attack(scene)]
    for block in range(blocks):
        lair.hush(victim)
        lair.send(liar, *(bent(dice, dice.choice(straight)) for _ in range(BLOCK)))
        seen = lair.show_sign(victim)
        assert [packet for packet in seen if packet.leg != "n1"] == [], block
        assert [
            packet for packet in victims_by_the_node(seen, scene.victim) if packet.source == scene.victim.address
        ] == []
