import pytest

from billing.standin.errors import ApiError
from billing.standin.search import MAX_CLAUSES, matcher

FIELDS = frozenset({"status", "customer", "total"})
ROW = {"status": "open", "customer": "cus_1", "total": 100, "metadata": {"statement": "7"}}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("metadata['statement']:'7'", True),
        ('metadata["statement"]:"7"', True),
        ("metadata['statement']:'8'", False),
        ("-metadata['statement']:'8'", True),
        ("metadata['other']:null", True),
        ("-metadata['statement']:null", True),
        ("status:'open' AND customer:'cus_1'", True),
        ("status:'open' AND customer:'cus_2'", False),
        ("total>99 AND total<=100", True),
        ("total>100", False),
        ("customer~'us_'", True),
    ],
)
def test_queries_find_what_they_say(query: str, found: object) -> None:
    assert matcher(query, FIELDS)(ROW) is found


@pytest.mark.parametrize(
    "query",
    [
        *("", "status", "status:open", "nothing:'x'", "metadata:'x'", "status['x']:'y'", "total>'5'", "a:'b' OR c:'d'"),
        " AND ".join(["status:'open'"] * (MAX_CLAUSES + 1)),
    ],
)
def test_what_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(ApiError) as refusal:
        matcher(query, FIELDS)
    assert refusal.value.param == "query"
