"""What a token may do."""

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from .authentication import token_of


class WritesWithLeave(BasePermission):
    """Writing takes a token that may write."""

    message = "This token may only read. Use one that can write."

    def has_permission(self, request: Request, view: object) -> bool:  # noqa: ARG002  # the base class's signature
        """Say whether the request's method is the token's to use."""
        return request.method in SAFE_METHODS or token_of(request).can_write


class Operates(BasePermission):
    """The operators' part takes a token that was made for it."""

    message = "This token isn't an operator's. Make one that may operate, in the admin."

    def has_permission(self, request: Request, view: object) -> bool:  # noqa: ARG002  # the base class's signature
        """Say whether the token is an operator's."""
        return token_of(request).can_operate
