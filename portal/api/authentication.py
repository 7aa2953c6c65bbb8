"""Programs present a team's token: `Authorization: Token sgt_…`."""

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from egress.control import clock
from portal.accounts.models import ApiToken
from portal.accounts.tokens import token_authenticate

KEYWORD = "Token"
PARTS = 2


class TokenUser:
    """What the framework wants of a user: a token's requests are the token's own, not its maker's."""

    is_authenticated = True
    is_active = True

    def __init__(self, token: ApiToken) -> None:
        self.pk = f"token-{token.pk}"


def token_of(request: Request) -> ApiToken:
    """Return the token that a permitted request came with."""
    assert isinstance(request.auth, ApiToken)
    return request.auth


class TokenAuthentication(BaseAuthentication):
    """Take `request.auth` from the Authorization header."""

    def authenticate(self, request: Request) -> tuple[TokenUser, ApiToken] | None:
        """Return the token; None without the header. Raises AuthenticationFailed."""
        parts = get_authorization_header(request).decode("latin-1").split()
        if not parts:
            return None
        if len(parts) != PARTS or parts[0].lower() != KEYWORD.lower():
            raise AuthenticationFailed("Send the header as: Authorization: Token YOUR_TOKEN")
        token = token_authenticate(parts[1], now=clock.now())
        if token is None:
            raise AuthenticationFailed("This token isn't valid. It may be mistyped or revoked; make a new one.")
        return TokenUser(token), token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002  # the base class's signature
        """Name the scheme, so that a missing token is answered with 401."""
        return KEYWORD
