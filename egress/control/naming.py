"""How our VMs are named and tagged at the provider, so that each can be found again whatever happened to the row.

Every name and tag carries the installation's id: of two installations on one account, even with copies of one database,
neither finds the other's VMs.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from .models import Gateway

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ORIGIN = re.compile(f"app:({_UUID}):({_UUID}):([01])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a VM was made for."""

    app_id: UUID
    assignment_id: UUID
    slot: int


def installation_tag() -> str:
    """Return the tag that all VMs of this installation bear."""
    return f"sluicegate-{settings.INSTALLATION_ID}"


def gateway_tag(gateway_id: UUID) -> str:
    """Return the tag that only this gateway's VM bears."""
    return f"{installation_tag()}:gw:{gateway_id}"


def tags_of(gateway: Gateway) -> tuple[str, ...]:
    """Return all tags of this gateway's VM: whose, which, and what for, should the row be lost."""
    assignment = gateway.assignment
    origin = f"{installation_tag()}:app:{assignment.app_id}:{assignment.pk}:{gateway.slot}"
    return (installation_tag(), gateway_tag(gateway.pk), origin)


def server_name(gateway_id: UUID) -> str:
    """Return the name of this gateway's VM, which is also its host name."""
    return f"sg-{settings.INSTALLATION_ID}-{gateway_id}"


def is_ours(tags: Iterable[str]) -> bool:
    """Say whether a VM with these tags is this installation's. The provider may have changed their case."""
    return installation_tag() in map(str.lower, tags)


def gateway_of(tags: Iterable[str]) -> UUID | None:
    """Return which gateway a VM with these tags belongs to; None when they don't say."""
    found = (re.fullmatch(f"gw:({_UUID})", rest) for rest in _ours(tags))
    return next((UUID(match[1]) for match in found if match), None)


def origin_of(tags: Iterable[str]) -> Origin | None:
    """Return what a VM with these tags was made for; None when they don't say."""
    for match in map(_ORIGIN.fullmatch, _ours(tags)):
        if match:
            return Origin(app_id=UUID(match[1]), assignment_id=UUID(match[2]), slot=int(match[3]))
    return None


def _ours(tags: Iterable[str]) -> list[str]:
    """Return what follows the installation's own prefix in those tags that begin with it."""
    prefix = f"{installation_tag()}:"
    return [tag.lower().removeprefix(prefix) for tag in tags if tag.lower().startswith(prefix)]
