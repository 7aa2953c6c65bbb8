"""How our VMs are named and tagged at the provider, so that each can be found again whatever happened to the row."""

from collections.abc import Iterable
from uuid import UUID

from django.conf import settings

_GATEWAY_PREFIX = "sluicegate-gw-"


def installation_tag() -> str:
    """Return the tag that all VMs of this installation bear."""
    return f"sluicegate-{settings.INSTALLATION_ID}"


def gateway_tag(gateway_id: UUID) -> str:
    """Return the tag that only this gateway's VM bears."""
    return f"{_GATEWAY_PREFIX}{gateway_id}"


def server_name(gateway_id: UUID) -> str:
    """Return the name of this gateway's VM, which is also its host name."""
    return f"sg-{settings.INSTALLATION_ID}-{gateway_id}"


def gateway_of(tags: Iterable[str]) -> UUID | None:
    """Return which gateway a VM with these tags belongs to; None when they don't say."""
    for tag in tags:
        if tag.startswith(_GATEWAY_PREFIX):
            try:
                return UUID(tag.removeprefix(_GATEWAY_PREFIX))
            except ValueError:
                return None
    return None
