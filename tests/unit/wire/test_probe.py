"""Probe datagrams: only those who know the key can ask or answer."""

from hypothesis import given
from hypothesis import strategies as st

from egress.wire import probe

KEY = b"k" * 32
NONCE = b"12345678"


def test_an_answer_carries_the_nonce_and_the_gateways_view() -> None:
    nonce = probe.read_request(KEY, probe.request(KEY, NONCE))
    assert nonce == NONCE
    reply = probe.read_answer(KEY, probe.answer(KEY, nonce, flags=probe.FORWARDING, boot_id="b1"))
    assert reply is not None
    assert (reply.nonce, reply.forwarding) == (NONCE, True)


def test_two_boots_differ() -> None:
    one, two = (probe.read_answer(KEY, probe.answer(KEY, NONCE, flags=0, boot_id=boot)) for boot in ("a", "b"))
    assert one is not None
    assert two is not None
    assert one.boot != two.boot
    assert not one.forwarding


def test_another_key_neither_asks_nor_answers() -> None:
    assert probe.read_request(b"x", probe.request(KEY, NONCE)) is None
    assert probe.read_answer(b"x", probe.answer(KEY, NONCE, flags=1, boot_id="b")) is None


def test_one_flipped_bit_is_noticed() -> None:
    datagram = bytearray(probe.answer(KEY, NONCE, flags=0, boot_id="b"))
    datagram[12] ^= probe.FORWARDING
    assert probe.read_answer(KEY, bytes(datagram)) is None


@given(st.binary(max_size=80))
def test_garbage_is_nobodys(datagram: bytes) -> None:
    assert probe.read_request(KEY, datagram) is None
    assert probe.read_answer(KEY, datagram) is None
