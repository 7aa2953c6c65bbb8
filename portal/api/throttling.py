"""How many requests a token may make."""

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from portal.accounts.models import ApiToken


class TokenThrottle(SimpleRateThrottle):
    """Count by token, whatever the address; requests without a valid one never get this far."""

    scope = "token"

    def get_cache_key(self, request: Request, view: object) -> str | None:  # noqa: ARG002  # the base class's signature
        """Return where the token's count is kept."""
        return f"throttle:{request.auth.pk}" if isinstance(request.auth, ApiToken) else None
