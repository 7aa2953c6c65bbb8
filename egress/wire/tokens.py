"""An agent's bearer tokens as it keeps them on its own disk."""

from dataclasses import dataclass, field

from .messages import Offer, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The token in use, and the one before it.

    That one counts again where the control plane doesn't know the new one: a restored backup, or two answers that
    overtook each other.
    """

    token: Secret = field(repr=False)
    previous: Offer = field(default="", repr=False)

    def followed_by(self, token: str) -> "Tokens":
        """Return what to keep once `token` was offered."""
        return Tokens(token=token, previous=self.token)

    def swapped(self) -> "Tokens":
        """Return the same two tokens, with the other one in use."""
        return Tokens(token=self.previous, previous=self.token)
