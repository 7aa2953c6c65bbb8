import re

import pytest

from billing.standin.pages.html import Markup, money, page, tag
from billing.standin.pages.pdf import MAX_LINES, pdf


def test_what_is_put_in_is_escaped() -> None:
    assert tag("p", "<b>&", tag("i", '"'), title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;&amp;<i>&quot;</i></p>'
    assert "<script>" not in bytes(page("<script>", Markup(""), error="<script>").body).decode()


def test_forms_may_end_where_the_visitor_came_from_and_nowhere_else() -> None:
    policy = page("x", goes_to=["http://127.0.0.1:8000/ok?a=1", "http://127.0.0.1:8000/no"]).headers[
        "content-security-policy"
    ]
    assert "form-action 'self' http://127.0.0.1:8000;" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    ("cents", "words"), [(0, "0.00 USD"), (5, "0.05 USD"), (123_456, "1,234.56 USD"), (-150, "-1.50 USD")]
)
def test_amounts_read_well(cents: int, words: str) -> None:
    assert money(cents, "usd") == words


@pytest.mark.parametrize("count", [1, MAX_LINES + 40])
def test_a_pdf_finds_its_parts(count: int) -> None:
    made = pdf([f"line {number} (a\\b)" for number in range(count)])
    table = int(re.findall(rb"startxref\n(\d+)\n", made)[0])
    assert made[table:].startswith(b"xref\n0 6\n")
    places = [int(place) for place in re.findall(rb"(\d{10}) 00000 n", made[table:])]
    assert [made[place:].split(b" ")[0] for place in places] == [b"1", b"2", b"3", b"4", b"5"]
    assert made.count(b" Tj") == min(count, MAX_LINES)
    assert rb"(line 0 \(a\\b\)) Tj" in made
