"""Pauses between attempts."""

from egress.gateway.session import Backoff, explain
from egress.wire.http import ControlPlaneError, Refused


def test_pauses_grow_up_to_a_bound_and_never_vanish() -> None:
    backoff = Backoff(first_seconds=1, most_seconds=8)
    pauses = [backoff.next_seconds() for _ in range(20)]
    assert 0.5 <= pauses[0] <= 1
    assert all(4 <= pause <= 8 for pause in pauses[3:])


def test_success_starts_again_from_the_shortest() -> None:
    backoff = Backoff(first_seconds=1, most_seconds=8)
    for _ in range(5):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.next_seconds() <= 1


def test_a_closed_window_says_what_to_do() -> None:
    assert "repair or rebuild this gateway" in explain(Refused(403, "window_closed", "closed since noon"))
    assert explain(ControlPlaneError("no route")) == "no route"
