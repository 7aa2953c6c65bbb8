"""Turn message dataclasses into JSON and back: strict about known fields, tolerant of unknown ones."""

import dataclasses
import functools
import ipaddress
import json
import re
import types
import typing
from collections.abc import Callable, Hashable
from typing import Annotated, Any, TypeVar, get_args, get_origin

T = TypeVar("T")
_UNFIT = re.compile("[\0\ud800-\udfff]")


class WireError(Exception):
    """The message doesn't follow the wire format."""

    code = "malformed_message"


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Inclusive limits: of a value for an int, of a length for a str, list or dict."""

    low: int
    high: int


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A further test on a decoded value; `test` raises ValueError to refuse."""

    test: Callable[[Any], object]


def Pattern(expression: str) -> Check:  # noqa: N802  # it stands beside Bounds in annotations
    """Return the check that a text matches `expression` as a whole."""
    compiled = re.compile(expression)

    def test(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError(f"does not match {expression}")

    return Check(test)


def _network(value: str) -> None:
    # One way to write each: no netmasks, no missing prefix.
    if str(ipaddress.IPv4Network(value)) != value:
        raise ValueError("not in the form address/prefix")


Address = Annotated[str, Bounds(7, 15), Check(ipaddress.IPv4Address)]
Network = Annotated[str, Bounds(9, 18), Check(_network)]
#: A Kubernetes namespace name: an RFC 1123 label.
Namespace = Annotated[str, Bounds(1, 63), Pattern(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")]
Identifier = Annotated[str, Bounds(1, 64), Pattern(r"[A-Za-z0-9._:-]+")]
Text = Annotated[str, Bounds(0, 1000)]
Count = Annotated[int, Bounds(0, 2**63 - 1)]


def encode(message: Any) -> bytes:
    """Return `message`, a dataclass instance, as compact UTF-8 JSON."""
    return json.dumps(dataclasses.asdict(message), separators=(",", ":")).encode()


def decode(kind: type[T], body: bytes) -> T:
    """Return the `kind` that `body` holds.

    Raises WireError, which names the place inside the message and what was wrong with it.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{kind.__name__}: not JSON: {error}") from None
    return typing.cast(T, _value(kind, data, kind.__name__))


def _value(kind: Any, data: Any, path: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _checked(_value(args[0], data, path), args[1:], path)
    if origin in (types.UnionType, typing.Union):
        return _optional(args, data, path)
    if origin is typing.Literal:
        if not isinstance(data, str) or data not in args:
            raise WireError(f"{path}: expected one of {', '.join(map(str, args))}")
        return data
    if origin in (tuple, list):
        _expect(data, list, path)
        return tuple(_value(args[0], item, f"{path}[{at}]") for at, item in enumerate(data))
    if origin is dict:
        _expect(data, dict, path)
        key_kind, item_kind = args
        return {
            _value(key_kind, key, f"{path} key"): _value(item_kind, item, f"{path}.{key}") for key, item in data.items()
        }
    if dataclasses.is_dataclass(kind):
        return _message(typing.cast("type[Any]", kind), data, path)
    _expect(data, kind, path)
    if kind is str and _UNFIT.search(data):
        # Neither a file in UTF-8 nor every database takes these.
        raise WireError(f"{path}: has a NUL or half a surrogate pair in it")
    return data


def _optional(args: tuple[Any, ...], data: Any, path: str) -> Any:
    if data is None and types.NoneType in args:
        return None
    (inner,) = (arg for arg in args if arg is not types.NoneType)
    return _value(inner, data, path)


def _expect(data: Any, kind: type, path: str) -> None:
    # bool is an int to isinstance, but "true" is no number on the wire.
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise WireError(f"{path}: expected {kind.__name__}, got {type(data).__name__}")


def _checked(value: Any, rules: tuple[Any, ...], path: str) -> Any:
    for rule in rules:
        if isinstance(rule, Bounds):
            size = value if isinstance(value, int) else len(value)
            if not rule.low <= size <= rule.high:
                raise WireError(f"{path}: {size} is outside {rule.low}..{rule.high}")
        elif isinstance(rule, Check):
            try:
                rule.test(value)
            except ValueError as error:
                raise WireError(f"{path}: {error}"[:300]) from None
    return value


def _message(kind: type[Any], data: Any, path: str) -> Any:
    _expect(data, dict, path)
    values = {}
    for name, hint, required in _fields(typing.cast(Hashable, kind)):
        if name in data:
            values[name] = _value(hint, data[name], f"{path}.{name}")
        elif required:
            raise WireError(f"{path}.{name}: missing")
    return kind(**values)


@functools.cache
def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    """Return name, type and "must be there" of each field of the dataclass `kind`."""
    hints = typing.get_type_hints(kind, include_extras=True)
    missing = dataclasses.MISSING
    return [
        (field.name, hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    ]
