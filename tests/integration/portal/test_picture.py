"""The picture of the packets' way, the snippets, the price: pure functions of a view."""

from dataclasses import replace
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest
from django.template.loader import render_to_string

from egress.control.models import App
from egress.control.selectors import EgressView, NodeView, egress_view
from portal.web.layout import UPRIGHT, WIDE, Box, Layout
from portal.web.picture import MAX_NODES, blocked, draw, hidden_nodes, in_use, in_words
from portal.web.pricing import price_of
from portal.web.snippets import snippets_for
from portal.web.templatetags.page import duration
from portal.web.templatetags.page import in_words as ago_in_words
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

LAYOUTS = pytest.mark.parametrize("layout", [WIDE, UPRIGHT], ids=["wide", "upright"])


@pytest.fixture
def view(request: pytest.FixtureRequest, crew: rows.Crew, app: App) -> EgressView:
    rows.bring(app, request.param, by=crew.owner)
    return egress_view(app)


def kinds(view: EgressView) -> list[str]:
    return sorted(line.kind for line in draw(view, WIDE).lines)


@pytest.mark.parametrize(
    ("view", "lines"),
    [
        ("provisioning", ["shared", "shared"]),
        ("active", ["live"] * 4 + ["standby"] * 2),
        ("degraded", ["live"] * 3),
        ("dark", []),
        ("draining", ["leaving"] * 6 + ["shared"] * 2),
        ("releasing", ["shared", "shared"]),
        ("error", ["shared", "shared"]),
    ],
    indirect=["view"],
)
def test_lines_tell_what_is_in_use(view: EgressView, lines: list[str]) -> None:
    assert kinds(view) == lines


@pytest.mark.parametrize("view", ["degraded"], indirect=True)
def test_nodes_of_a_dead_gateway_use_the_other(view: EgressView) -> None:
    assert {in_use(view, node) for node in view.nodes} == {0}


@pytest.mark.parametrize("view", ["dark"], indirect=True)
def test_without_a_gateway_nothing_is_drawn_as_getting_out(view: EgressView) -> None:
    assert blocked(view)
    assert "through no gateway" in in_words(view)


@pytest.mark.parametrize("view", ["active"], indirect=True)
def test_words_tell_what_the_picture_shows(view: EgressView) -> None:
    words = in_words(view)

    for part in ("Gateway A, 203.0.113.10: healthy.", "2 containers on node fra1-w1", "1 container on node fra1-w2"):
        assert part in words


@LAYOUTS
@pytest.mark.parametrize("view", ["active"], indirect=True)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 40])
def test_everything_lies_inside_the_drawing_and_apart(view: EgressView, layout: Layout, count: int) -> None:
    nodes = tuple(
        NodeView(name=f"a-node-with-a-long-name-{i}", containers=i + 1, slot=i % 2, applied=True, alive=True)
        for i in range(count)
    )
    picture = draw(replace(view, nodes=nodes), layout)

    boxes = [node.box for node in picture.nodes] + [gateway.box for gateway in picture.gateways] + [picture.world]
    assert len(picture.nodes) == min(count, MAX_NODES)
    for box in boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.right <= picture.width
        assert box.bottom <= picture.height
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if overlap(a, b)]


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.right and b.x < a.right and a.y < b.bottom and b.y < a.bottom


@LAYOUTS
@pytest.mark.parametrize("view", ["active"], indirect=True)
@pytest.mark.parametrize(
    ("containers", "squares", "more", "words"),
    [
        (0, 0, "", "no containers"),
        (1, 1, "", "1 container"),
        (5, 5, "", "5 containers"),
        (40, 5, "…", "40 containers"),
    ],
)
def test_containers_are_drawn_and_told_in_words(
    view: EgressView, layout: Layout, containers: int, squares: int, more: str, words: str
) -> None:
    node = NodeView(name="w1", containers=containers, slot=0, applied=True, alive=True)

    drawn = draw(replace(view, nodes=(node,)), layout).nodes[0]

    assert (len(drawn.pods), drawn.more, drawn.counted) == (squares, more, words)


@pytest.mark.parametrize("view", ["active"], indirect=True)
def test_what_is_not_drawn_is_counted(view: EgressView) -> None:
    many = tuple(NodeView(name=f"w{i}", containers=1, slot=0, applied=True, alive=True) for i in range(7))

    assert hidden_nodes(replace(view, nodes=many)) == "3 more nodes not drawn."
    assert hidden_nodes(view) == ""


@LAYOUTS
@pytest.mark.parametrize("view", ["degraded"], indirect=True)
def test_drawing_is_well_formed_and_escapes_names(view: EgressView, layout: Layout) -> None:
    evil = NodeView(name='<i>"&', containers=2, slot=0, applied=True, alive=True)
    shown = replace(view, nodes=(evil,))
    context = {
        "picture": draw(shown, layout),
        "page": {"picture_in_words": in_words(shown), "view": shown},
        "class": "wide",
    }

    root = ET.fromstring(render_to_string("web/_svg.html", context))  # noqa: S314  # our own text

    assert root.attrib["role"] == "img"
    assert '<i>"&' in root.attrib["aria-label"]


def test_price_per_hour_reaches_the_cap_after_its_hours() -> None:
    price = price_of(per_slot_hour=Decimal("0.01860119"), cap_hours=672, currency="USD")

    assert (price.sign, price.per_hour, price.per_month) == ("$", Decimal("0.0372"), Decimal("25.00"))


def test_snippets_need_addresses() -> None:
    assert snippets_for(app="shop-api", addresses=[]) == ()


def test_every_snippet_names_every_address() -> None:
    snippets = snippets_for(app="shop-api", addresses=rows.ADDRESSES)

    assert [snippet.key for snippet in snippets] == ["postgresql", "aws", "ufw", "nftables", "doctl", "json"]
    for snippet in snippets:
        assert all(address in snippet.text for address in rows.ADDRESSES)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (4, "just now"), (5, "5 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_times_are_told_as_distances(seconds: int, words: str) -> None:
    assert ago_in_words(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3600, "1 hour"), (7200, "2 hours"), (90, "90 seconds"), (120, "2 minutes")],
)
def test_lengths_of_time_are_told_in_whole_units(seconds: int, words: str) -> None:
    assert duration(seconds) == words
