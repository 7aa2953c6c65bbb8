import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egress.lab.cloud.errors import ApiError
from egress.lab.cloud.requests import parse_action, parse_create, parse_json, parse_page

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("name", "names", "region", "size", "image", "user_data", "tags", "vpc_uuid", "type")


def refusal(parse: Callable[[Any], object], data: object) -> int:
    """Return the status with which `data` is refused, 0 if it isn't; anything but an ApiError goes through."""
    try:
        parse(data)
    except ApiError as error:
        return error.status
    return 0


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_refusal(body: bytes) -> None:
    assert refusal(parse_json, body) in (0, 400)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_object_is_a_creation_or_a_refusal(data: dict[str, object]) -> None:
    plausible = {"name": "a", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"}

    assert refusal(parse_create, plausible | data) in (0, 422)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_object_is_an_action_or_a_refusal(data: dict[str, object]) -> None:
    assert refusal(parse_action, data) in (0, 422)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(("page", "per_page")), st.text(max_size=10)))
def test_any_query_is_a_page_or_a_refusal(query: dict[str, str]) -> None:
    assert refusal(parse_page, query) in (0, 422)


def test_tags_are_kept_once_in_their_order() -> None:
    body = json.dumps({"name": "a", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "tags": ["b", "a", "b"]})

    assert parse_create(parse_json(body.encode())).tags == ("b", "a")


def test_without_a_page_the_first_20_are_meant() -> None:
    page = parse_page({})

    assert (page.number, page.size) == (1, 20)


@pytest.mark.parametrize("count", [0, 11])
def test_there_are_1_to_10_names(count: int) -> None:
    with pytest.raises(ApiError, match="1 to 10"):
        parse_create({"names": ["a"] * count, "size": "s-1vcpu-1gb", "image": "debian-12-x64"})
