"""The port to a cloud that runs gateway VMs: what we ask of it, and every way in which it can fail.

The word server is used here for the provider's VM (a Droplet), gateway for our own row.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

ServerStatus = Literal["new", "active", "off", "archive"]
ActionStatus = Literal["in-progress", "completed", "errored"]


class ProviderError(Exception):
    """The provider didn't do what was asked."""

    code = "provider_error"
    #: True when the same call may succeed later without anybody's help.
    passing = False


class Unavailable(ProviderError):
    """The provider can't be reached, is failing or is busy; nothing was created, and calling again does no harm."""

    code = "provider_unavailable"
    passing = True


class RateLimited(ProviderError):
    """Too many calls with this token; `retry_after_seconds` says how long to wait."""

    code = "provider_rate_limited"
    passing = True

    def __init__(self, message: str, retry_after_seconds: int = 60) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NoCapacity(ProviderError):
    """The region has no room for a VM of this size, or the account's limit is reached."""

    code = "provider_no_capacity"


class AccessRefused(ProviderError):
    """The provider refuses the token."""

    code = "provider_access_refused"


class Rejected(ProviderError):
    """The provider understood the request and won't carry it out."""

    code = "provider_rejected"


class OutcomeUnknown(ProviderError):
    """The connection broke after the request was sent: it may have been carried out, now or later."""

    code = "provider_outcome_unknown"
    passing = True


class NotFound(ProviderError):
    """The provider has no such server."""

    code = "provider_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """What to create. `tags` must contain the gateway's own tag, which `create_or_adopt` searches by."""

    name: str
    region: str
    size: str
    image: str
    #: At most 64 KiB.
    user_data: str
    vpc_id: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A VM as the provider describes it. Addresses are None until it has them."""

    id: str
    name: str
    status: ServerStatus
    public_address: str | None
    private_address: str | None
    tags: tuple[str, ...]
    #: ISO 8601, as the provider gives it: orders duplicates.
    created_at: str


class Provider(Protocol):
    """A cloud. Every call is bounded in time, and raises only ProviderErrors."""

    def create_or_adopt(self, spec: ServerSpec, *, tag: str) -> Server:
        """Return the oldest server that bears `tag`, or create one from `spec`; never retries the creation itself.

        Raises OutcomeUnknown when a creation may have happened: call again, it will be adopted once it shows.
        Raises NoCapacity, AccessRefused, Rejected, RateLimited, Unavailable.
        """

    def get(self, server_id: str) -> Server:
        """Return one server. Raises NotFound."""

    def neighbours(self, server_id: str) -> frozenset[str]:
        """Return the ids of the account's other servers on the same physical host. Raises NotFound."""

    def list_by_tag(self, tag: str) -> list[Server]:
        """Return all servers that bear `tag`, oldest first, all pages."""

    def delete(self, server_id: str) -> None:
        """Destroy one server; one that is already gone is no error."""

    def reboot(self, server_id: str) -> str:
        """Let the system end and start again; returns the action's id.

        Raises NotFound, and OutcomeUnknown, as do all actions.
        """

    def power_cycle(self, server_id: str) -> str:
        """Cut power and start again; returns the action's id. Raises NotFound."""

    def power_off(self, server_id: str) -> str:
        """Cut power; returns the action's id. Raises NotFound."""

    def power_on(self, server_id: str) -> str:
        """Start; returns the action's id. Raises NotFound."""

    def rebuild(self, server_id: str, *, image: str) -> str:
        """Lay `image` anew on the same server: addresses stay, user data runs again; returns the action's id."""

    def image_regions(self, image: str) -> frozenset[str]:
        """Return the regions in which servers can have `image`, a slug or number. Raises NotFound."""

    def action_status(self, server_id: str, action_id: str) -> ActionStatus:
        """Return how far an action got. Raises NotFound."""
