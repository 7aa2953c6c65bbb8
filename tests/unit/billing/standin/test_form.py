from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from billing.standin.errors import ApiError
from billing.standin.form import MAX_DEPTH, MAX_FIELDS, decode

LETTERS = "aZ0 é&=%+;#?'\"\n\\.-_/\U0001f642"
KEYS = st.text(LETTERS, min_size=1, max_size=6).filter(lambda key: not key.isdecimal())
VALUES = st.recursive(
    st.text(LETTERS + "[]", max_size=8),
    lambda below: st.lists(below, min_size=1, max_size=4) | st.dictionaries(KEYS, below, min_size=1, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_stripe_python_encodes_comes_back(params: dict[str, Any]) -> None:
    assert decode(urlencode(list(_api_encode(params)))) == params


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        ("a=", {"a": ""}),
        ("a=1&b=x%20y%26z", {"a": "1", "b": "x y&z"}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[]=x&a[]=y", {"a": ["x", "y"]}),
        ("a[1]=y&a[0]=x", {"a": ["x", "y"]}),
        ("a[10]=z&a[9]=y", {"a": ["y", "z"]}),
        ("a[][n]=1&a[][m]=2&a[][n]=3", {"a": [{"n": "1", "m": "2"}, {"n": "3"}]}),
        ("metadata[0]=x&metadata[1]=y", {"metadata": {"0": "x", "1": "y"}}),
        ("a[metadata][7]=x", {"a": {"metadata": {"7": "x"}}}),
    ],
)
def test_nested_keys_become_hashes_and_lists(text: str, params: dict[str, Any]) -> None:
    assert decode(text) == params


@pytest.mark.parametrize(
    "text",
    [
        "a=1&a=2",
        "a=1&a[b]=2",
        "a[b]=2&a=1",
        "a[b=1",
        "[a]=1",
        "a[b]c=1",
        "a" + "[b]" * MAX_DEPTH + "=1",
        "&".join(f"a{number}=1" for number in range(MAX_FIELDS + 1)),
        "a=%ff",
    ],
)
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refusal:
        decode(text)
    assert (refusal.value.status, refusal.value.kind) == (400, "invalid_request_error")
