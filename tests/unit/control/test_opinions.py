"""What a gateway and the nodes say of it becomes one finding: for each combination, and for liars."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.control.models import Health
from egress.control.models_health import Finding
from egress.control.opinions import Nodes, Own, merge

WELL = Own(heard=True, fresh=True)
SILENT = Own(heard=True, fresh=False, last="12:00:00 UTC")
F = Finding


def nodes(good: int, bad: int, why: str = "silent") -> Nodes:
    return Nodes(good=good, bad=bad, reasons=Counter({why: bad}) if bad else {})


@pytest.mark.parametrize(
    ("own", "said", "finding"),
    [
        (Own(heard=False, fresh=False), nodes(0, 0), F.UNKNOWN),
        (Own(heard=False, fresh=False), nodes(0, 9), F.UNKNOWN),
        (WELL, nodes(0, 0), F.WELL),
        (WELL, nodes(40, 0), F.WELL),
        (WELL, nodes(37, 3), F.NETWORK),
        (WELL, nodes(20, 20), F.NETWORK),
        (WELL, nodes(19, 21), F.CUT_OFF),
        (WELL, nodes(0, 40), F.CUT_OFF),
        # One node's word changes nothing, not even where there is no other.
        (WELL, nodes(0, 1), F.NETWORK),
        (WELL, nodes(1, 1), F.NETWORK),
        (WELL, nodes(0, 2), F.CUT_OFF),
        (SILENT, nodes(0, 0), F.SILENT),
        (SILENT, nodes(0, 1), F.DEAD),
        (SILENT, nodes(0, 40), F.DEAD),
        (SILENT, nodes(1, 39), F.DEAD),
        (SILENT, nodes(1, 3), F.DEAD),
        (SILENT, nodes(1, 2), F.CUT_OFF),
        (SILENT, nodes(2, 38), F.CUT_OFF),
        (SILENT, nodes(20, 20), F.CUT_OFF),
        (SILENT, nodes(21, 19), F.UNHEARD),
        (SILENT, nodes(1, 0), F.UNHEARD),
        (Own(heard=True, fresh=True, forwarding=False), nodes(40, 0), F.SICK),
        (Own(heard=True, fresh=True, link=False), nodes(40, 0), F.SICK),
        (Own(heard=True, fresh=True, internet=False), nodes(40, 0), F.SICK),
        (Own(heard=True, fresh=True, internet=False), nodes(0, 40, "no_internet"), F.SICK),
    ],
)
def test_one_finding_for_each_combination(own: Own, said: Nodes, finding: Finding) -> None:
    assert merge(own, said, share=50).finding is finding


@pytest.mark.parametrize(
    ("own", "said", "finding"),
    [
        (Own(heard=True, fresh=True, internet=False), nodes(40, 0), F.TARGETS),
        # What nodes have from the gateway itself they don't know better.
        (Own(heard=True, fresh=True, internet=False), nodes(0, 40, "no_internet"), F.TARGETS),
        (Own(heard=True, fresh=True, internet=False), nodes(0, 40), F.CUT_OFF),
        (Own(heard=True, fresh=True, internet=False, link=False), nodes(40, 0), F.SICK),
        (WELL, nodes(40, 0), F.WELL),
    ],
)
def test_targets_at_fault_excuse_a_gateway_from_their_silence_alone(own: Own, said: Nodes, finding: Finding) -> None:
    assert merge(own, said, share=50, targets_at_fault=True).finding is finding


@pytest.mark.parametrize(
    ("finding", "health"),
    [
        (F.UNKNOWN, Health.UNKNOWN),
        *[(one, Health.UNHEALTHY) for one in (F.DEAD, F.SILENT, F.SICK, F.CUT_OFF)],
        *[(one, Health.HEALTHY) for one in (F.WELL, F.NETWORK, F.UNHEARD, F.TARGETS)],
    ],
)
def test_a_fault_elsewhere_does_not_make_a_gateway_unhealthy(finding: Finding, health: Health) -> None:
    from egress.control.opinions import Opinion

    assert Opinion(finding).health == health


@pytest.mark.parametrize(("share", "finding"), [(50, F.CUT_OFF), (60, F.NETWORK), (90, F.NETWORK)])
def test_the_share_decides(share: int, finding: Finding) -> None:
    assert merge(WELL, nodes(4, 6), share=share).finding is finding


def test_the_reason_counts_nodes_and_names_their_reasons() -> None:
    said = Nodes(good=37, bad=3, reasons=Counter(silent=2, dead=1))
    reason = merge(WELL, said, share=50).reason
    assert reason.startswith("3 of 40 nodes can't use it (1 reset its connections, 2 hear nothing from it)")
    assert "not of the gateway" in reason
    assert merge(SILENT, nodes(9, 1), share=50).reason.startswith("no report since 12:00:00 UTC, but 9 of 10 nodes")


@given(good=st.integers(0, 50), bad=st.integers(0, 50), fresh=st.booleans(), lie=st.sampled_from(["good", "bad"]))
def test_one_more_node_never_kills_what_is_well_nor_saves_what_is_dead(
    good: int,
    bad: int,
    fresh: bool,  # noqa: FBT001 - drawn
    lie: str,
) -> None:
    own = WELL if fresh else SILENT
    before = merge(own, nodes(good, bad), share=50)
    after = merge(own, nodes(good + (lie == "good"), bad + (lie == "bad")), share=50)
    if fresh and bad == 0:
        assert after.health == Health.HEALTHY
    if not fresh and good == 0 and bad >= 3:
        assert before.finding is after.finding is F.DEAD
