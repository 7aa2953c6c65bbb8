"""Decode form-encoded parameters with nested keys, as stripe-python sends them; pure."""

import re
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

from .errors import invalid

MAX_FIELDS = 5_000
MAX_DEPTH = 8
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_SEGMENT = re.compile(r"\[([^\[\]]*)\]")
#: Below these, numbers are keys that the caller chose, not places in a list.
_MAPPINGS = frozenset({"metadata"})

Form = dict[str, Any]


def decode(text: str) -> Form:
    """Return the parameters of a body or query: strings, and dicts and lists of these.

    `a[b]=1` is `{"a": {"b": "1"}}`; `a[0]=x&a[1]=y` and `a[]=x&a[]=y` are `{"a": ["x", "y"]}`.
    Raises ApiError for what isn't a form, is too deep or too long, or gives one key two shapes.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise invalid(f"Invalid request: the parameters can't be read as a form ({error}).") from None
    root: Form = {}
    for key, value in pairs:
        _put(root, _path(key), value, key)
    return {name: _lists(value, name) for name, value in root.items()}


def _path(key: str) -> list[str]:
    match = _KEY.fullmatch(key)
    segments = [match[1], *_SEGMENT.findall(match[2])] if match else []
    if not segments or len(segments) > MAX_DEPTH:
        raise invalid(f"Invalid parameter name: {key[:100]}", param=key[:100])
    return segments


def _put(root: Form, path: list[str], value: str, key: str) -> None:
    at = root
    for segment, following in pairwise(path):
        at = at.setdefault(_place(at, segment, following), {})
        if not isinstance(at, dict):
            raise invalid(f"Invalid parameter: {key[:100]} is given both as a value and as a hash.", param=key[:100])
    last = _place(at, path[-1], None)
    if last in at:
        raise invalid(f"Invalid parameter: {key[:100]} is given twice.", param=key[:100])
    at[last] = value


def _place(at: Form, segment: str, following: str | None) -> str:
    """Return the key for `segment`; "" appends, or goes on with the last hash as long as it lacks the key."""
    if segment:
        return segment
    last = str(len(at) - 1)
    if following and isinstance(at.get(last), dict) and following not in at[last]:
        return last
    return str(len(at))


def _lists(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        return value
    below = {key: _lists(item, key) for key, item in value.items()}
    if name in _MAPPINGS or not all(key.isascii() and key.isdecimal() for key in below):
        return below
    return [below[key] for key in sorted(below, key=int)]
