"""Turn the bodies and queries that clients send into checked values, or refuse them; no state, no I/O."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .catalog import REGIONS, SIZES, image_slug
from .errors import bad_request, unprocessable

MAX_NAMES = 10
MAX_USER_DATA_BYTES = 64 * 1024
MAX_TAGS = 100
MAX_PER_PAGE = 200
DEFAULT_PER_PAGE = 20
DEFAULT_REGION = "nyc3"
ACTION_TYPES = frozenset({"power_off", "power_on", "power_cycle", "reboot", "shutdown", "rebuild"})

_NAME = re.compile(r"[a-zA-Z0-9]?[a-z0-9A-Z.\-]*[a-z0-9A-Z]")
_TAG = re.compile(r"[a-zA-Z0-9_\-:]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """One checked request for one Droplet per name; `several` tells which shape the answer takes."""

    names: tuple[str, ...]
    several: bool
    region: str
    size: str
    image: str
    user_data: str = field(repr=False)
    tags: tuple[str, ...]
    vpc_uuid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequest:
    """One checked request for a change of power or disk; `image` is None unless it is a rebuild."""

    type: str
    image: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which page of a list: `number` counts from 1."""

    number: int
    size: int


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` is. Raises ApiError 400."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise bad_request("The request body must be a JSON object.")
    return data


def parse_create(data: Mapping[str, Any]) -> CreateRequest:
    """Return what a body of POST /v2/droplets asks for. Raises ApiError 422."""
    return CreateRequest(
        names=_names(data),
        several="names" in data,
        region=_one_of(data, "region", REGIONS, default=DEFAULT_REGION),
        size=_one_of(data, "size", SIZES),
        image=_image(data),
        user_data=_user_data(data),
        tags=_tags(data),
        vpc_uuid=_optional(data, "vpc_uuid", str),
    )


def parse_action(data: Mapping[str, Any]) -> ActionRequest:
    """Return what a body of POST /v2/droplets/{id}/actions asks for. Raises ApiError 422."""
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in ACTION_TYPES:
        raise unprocessable(f"The action type must be one of {', '.join(sorted(ACTION_TYPES))}.")
    return ActionRequest(type=kind, image=_image(data) if kind == "rebuild" else None)


def parse_page(query: Mapping[str, str]) -> Page:
    """Return the page that a query string asks for. Raises ApiError 422."""
    return Page(
        number=_number(query, "page", default=1, high=1_000_000),
        size=_number(query, "per_page", default=DEFAULT_PER_PAGE, high=MAX_PER_PAGE),
    )


def _number(query: Mapping[str, str], name: str, *, default: int, high: int) -> int:
    text = query.get(name, str(default))
    # Digits of other scripts are digits to isdecimal, too.
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(high)) and 1 <= int(text) <= high):
        raise unprocessable(f"{name} must be a whole number from 1 to {high}.")
    return int(text)


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    if ("name" in data) == ("names" in data):
        raise unprocessable("Name or names is required, and not both.")
    names = data["names"] if "names" in data else [data["name"]]
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_NAMES:
        raise unprocessable(f"Names must be a list of 1 to {MAX_NAMES} names.")
    for name in names:
        if not isinstance(name, str) or len(name) > 255 or not _NAME.fullmatch(name):  # noqa: PLR2004 - the API's limit
            raise unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    return tuple(names)


def _one_of(data: Mapping[str, Any], name: str, known: Mapping[str, object], *, default: str | None = None) -> str:
    value = data.get(name, default)
    if not isinstance(value, str) or value not in known:
        raise unprocessable(f"You specified an invalid {name} for Droplet creation.")
    return value


def _image(data: Mapping[str, Any]) -> str:
    image = data.get("image")
    slug = image_slug(image) if isinstance(image, str | int) else None
    if slug is None:
        raise unprocessable("You specified an invalid image for Droplet creation.")
    return slug


def _user_data(data: Mapping[str, Any]) -> str:
    user_data: str = _optional(data, "user_data", str) or ""
    try:
        size = len(user_data.encode())
    except UnicodeEncodeError:
        # JSON can name half of a surrogate pair; no file can hold it.
        raise unprocessable("User data must be valid Unicode.") from None
    if size > MAX_USER_DATA_BYTES:
        raise unprocessable("User data must be 64 KiB or less.")
    return user_data


def _tags(data: Mapping[str, Any]) -> tuple[str, ...]:
    tags = _optional(data, "tags", list) or []
    if len(tags) > MAX_TAGS or not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags):
        raise unprocessable("Tags must be letters, numbers, colons, dashes and underscores, 255 characters at most.")
    return tuple(dict.fromkeys(tags))


def _optional(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise unprocessable(f"{name} has the wrong type.")
    return value
