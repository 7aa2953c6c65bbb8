"""The arguments of the control socket's commands."""

from typing import Any

from .errors import BadRequest

Arguments = dict[str, Any]


def take(arguments: Arguments, **wanted: Any) -> tuple[Any, ...]:
    """Return the wanted arguments in order; a type means required, a value is the default (and its type the type).

    Raises BadRequest for missing, unknown and mistyped ones.
    """
    unknown = arguments.keys() - wanted.keys()
    if unknown:
        raise BadRequest(f"unknown argument {', '.join(sorted(unknown))}; known: {', '.join(wanted) or 'none'}")
    return tuple(_one(arguments, name, wish) for name, wish in wanted.items())


def _one(arguments: Arguments, name: str, wish: Any) -> Any:
    kind = wish if isinstance(wish, type) else type(wish)
    if name not in arguments:
        if isinstance(wish, type):
            raise BadRequest(f"the argument {name} is missing")
        return wish
    value = arguments[name]
    value = float(value) if kind is float and type(value) is int else value
    if type(value) is not kind:
        raise BadRequest(f"the argument {name} must be a {kind.__name__}")
    return value
