"""How the API's description tells of tokens."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema

from .authentication import TokenAuthentication

View = TypeVar("View", bound=Callable[..., Any])


def described(**facts: Any) -> Callable[[View], View]:
    """Add facts to a view's description: drf-spectacular's `extend_schema`, with a type."""
    return cast("Callable[[View], View]", extend_schema(**facts))


def plain_paths(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Describe `…/egress` without the slash that is tolerated at its end; lists and rows keep theirs."""
    return [
        (path.removesuffix("/") if path.endswith("/egress/") else path, regex, method, view)
        for path, regex, method, view in endpoints
    ]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]  # drf-spectacular's types are skipped
    """The Authorization header of `TokenAuthentication`."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:  # noqa: ARG002  # as above
        """Return the security scheme object."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token` and a space before a team's API token.",
        }
