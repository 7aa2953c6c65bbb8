"""How many requests a token may make."""

import logging
from typing import Any

from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from portal.accounts.models import ApiToken

log = logging.getLogger(__name__)


class TokenThrottle(SimpleRateThrottle):
    """Count by token, whatever the address; requests without a valid one never get this far."""

    scope = "token"

    def allow_request(self, request: Request, view: Any) -> bool:
        """Say whether this one is within the rate; a cache that is away limits nobody."""
        try:
            return super().allow_request(request, view)
        except (RedisError, OSError) as error:
            log.warning("the cache is away, so tokens aren't limited: %s", error)
            return True

    def get_cache_key(self, request: Request, view: object) -> str | None:  # noqa: ARG002  # the base class's signature
        """Return where the token's count is kept."""
        return f"throttle:{request.auth.pk}" if isinstance(request.auth, ApiToken) else None
