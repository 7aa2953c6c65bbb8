"""Stripe's search language, the part that looks objects up: `metadata['key']:'value' AND customer:'cus_…'`; pure."""

import re
from collections.abc import Callable
from typing import Any

from .errors import invalid
from .store import Json

MAX_CLAUSES = 10
_CLAUSE = re.compile(
    r"""\s*(?P<negated>-)?(?P<field>[a-z_]+)(?:\[(?P<quote>["'])(?P<key>[^"']{1,40})(?P=quote)\])?"""
    r"""\s*(?P<operator>[:><]=?|~)\s*(?:(?P<mark>["'])(?P<text>[^"']*)(?P=mark)|(?P<number>\d+)|(?P<null>null))\s*"""
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ":": lambda value, wanted: bool(value == wanted),
    ">": lambda value, wanted: value is not None and value > wanted,
    ">=": lambda value, wanted: value is not None and value >= wanted,
    "<": lambda value, wanted: value is not None and value < wanted,
    "<=": lambda value, wanted: value is not None and value <= wanted,
    "~": lambda value, wanted: wanted in (value or ""),
}

Test = Callable[[Json], bool]


def matcher(query: str, fields: frozenset[str]) -> Test:
    """Return the test that `query` is, on `metadata` and `fields`. Raises ApiError when it can't be read."""
    clauses = re.split(r"\s+AND\s+", query)
    if len(clauses) > MAX_CLAUSES:
        raise invalid(f"A search has at most {MAX_CLAUSES} clauses.", param="query")
    tests = [_test(clause, fields) for clause in clauses]
    return lambda row: all(test(row) for test in tests)


def _test(clause: str, fields: frozenset[str]) -> Test:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise invalid(f"We were unable to parse your search query: {clause[:100]}", param="query")
    field, key, operator = match["field"], match["key"], match["operator"]
    if (field == "metadata") != (key is not None) or (field != "metadata" and field not in fields):
        raise invalid(f"Field `{field}` is not searchable here.", param="query")
    compare = _COMPARISONS.get(operator)
    if compare is None or (operator in (">", ">=", "<", "<=") and match["number"] is None):
        raise invalid(f"We were unable to parse your search query: {clause[:100]}", param="query")
    wanted: Any = int(match["number"]) if match["number"] else match["text"]
    negated = match["negated"] is not None

    def test(row: Json) -> bool:
        value = (row.get("metadata") or {}).get(key) if key else row.get(field)
        return compare(value, wanted) != negated

    return test
