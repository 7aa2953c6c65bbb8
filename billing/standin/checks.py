"""Check parameters against stripe-python's own types: what Stripe doesn't know is refused, as Stripe does."""

import functools
import importlib
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import typing_extensions
from pydantic import BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from stripe import RequestOptions, StripeObject
from typing_extensions import TypedDict, is_typeddict

from .errors import ApiError, invalid
from .form import Form

MAX_TEXT = 5_000
_INTEGER = re.compile(r"[+-]?\d{1,18}")


def check(params: str, form: Form) -> dict[str, Any]:
    """Return `form` with integers and booleans as such.

    `params` names the type in `stripe.params`, such as `InvoiceCreateParams` or `checkout.SessionCreateParams`.
    Raises ApiError for unknown, missing and misshapen parameters.
    """
    try:
        checked: dict[str, Any] = _adapter(params).validate_python(form)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False), form) from None
    return checked


@functools.cache
def _adapter(params: str) -> TypeAdapter[dict[str, Any]]:
    module, _, name = f"stripe.params.{params}".rpartition(".")
    return TypeAdapter(_strict(getattr(importlib.import_module(module), name)))


@functools.cache
def _strict_dict(declared: Any) -> Any:
    """Return stripe-python's TypedDict without the options of a request, which never travel as parameters."""
    own = {key: hint for key, hint in declared.__annotations__.items() if key not in RequestOptions.__annotations__}
    shell = type(declared.__name__, (), {"__annotations__": own, "__module__": declared.__module__})
    hints = typing_extensions.get_type_hints(shell, include_extras=True)
    make: Any = TypedDict  # mypy knows it as a class statement's only
    # A bare hint is of what must be given, which is then not empty.
    strict = make(declared.__name__, {key: _FULL if hint is str else _strict(hint) for key, hint in hints.items()})
    strict.__pydantic_config__ = ConfigDict(extra="forbid")
    return strict


def _strict(hint: Any) -> Any:
    """Return `hint` as it is on the wire: all is text, and enumerations are closed."""
    if is_typeddict(hint):
        return _strict_dict(hint)
    if hint in _WIRE:
        return _WIRE[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (NotRequired, Required):
        return origin[_strict(arguments[0])]
    if origin is list:
        return list[_strict(arguments[0])]  # type: ignore[misc]  # made at run time
    if origin is dict:
        return dict[str, str] if arguments == (str, str) else dict[str, _strict(arguments[1])]  # type: ignore[misc]  # made at run time
    if origin in (Union, types.UnionType):
        return _strict_union(arguments)
    return hint


def _strict_union(members: tuple[Any, ...]) -> Any:
    words = [word for member in members if get_origin(member) is Literal for word in get_args(member)]
    kept = [member for member in members if not _is_object(member)]
    if any(words):
        # stripe-python leaves enumerations open for values of the future; the API doesn't.
        kept = [member for member in kept if member is not str]
    return Union[tuple(_strict(member) for member in kept)]  # noqa: UP007 - made at run time


def _is_object(hint: Any) -> bool:
    """Say whether this is one of stripe-python's own objects, which it takes in place of a dict."""
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, StripeObject)


def _integer(value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise PydanticCustomError("not_integer", "not an integer")


def _boolean(value: object) -> bool:
    if value in ("true", "false"):
        return value == "true"
    raise PydanticCustomError("not_boolean", "not a boolean")


_FULL = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
_WIRE: Mapping[Any, Any] = {
    str: Annotated[str, StringConstraints(max_length=MAX_TEXT)],
    int: Annotated[int, BeforeValidator(_integer)],
    bool: Annotated[bool, BeforeValidator(_boolean)],
}


def _refusal(errors: list[ErrorDetails], form: Form) -> ApiError:
    """Return Stripe's words for the first of `errors`, the most telling one: an unknown name, else the deepest."""
    error, where = max(
        ((error, _where(error, form)) for error in errors),
        key=lambda found: (found[0]["type"] == "extra_forbidden", len(found[1])),
    )
    param = _named(where)
    given = str(error["input"])[:100]
    match error["type"]:
        case "extra_forbidden":
            return invalid(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)
        case "missing":
            return invalid(f"Missing required param: {param}.", code="parameter_missing", param=param)
        case "not_integer":
            return invalid(f"Invalid integer: {given}", code="parameter_invalid_integer", param=param)
        case "not_boolean":
            return invalid(f"Invalid boolean: {given}", param=param)
        case "string_too_short":
            message = f"You passed an empty string for '{param}', which cannot be unset."
            return invalid(message, code="parameter_invalid_empty", param=param)
        case "literal_error" if given:
            return invalid(f"Invalid {param}: must be one of {error.get('ctx', {}).get('expected')}", param=param)
        case _:
            return invalid(f"Invalid {param}: {error['msg']}.", param=param)


def _where(error: ErrorDetails, form: Form) -> tuple[str | int, ...]:
    """Return where in `form` an error is: pydantic also names the members of unions that it tried."""
    at: Any = form
    path: list[str | int] = []
    location = error["loc"]
    for number, step in enumerate(location):
        known = set(at) if isinstance(at, dict) else set(range(len(at))) if isinstance(at, list) else set[Any]()
        if step in known:
            at = at[step]
            path.append(step)
        elif error["type"] == "missing" and number == len(location) - 1:
            path.append(step)
    return tuple(path)


def _named(where: tuple[str | int, ...]) -> str:
    return "".join(str(step) if number == 0 else f"[{step}]" for number, step in enumerate(where))
