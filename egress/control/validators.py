"""Checks on what operators type: the same rules as the wire format's, so that no agent chokes on a row."""

import ipaddress
import re
from typing import Any

from django.core.exceptions import ValidationError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
MAX_LOCAL_NETWORKS = 200


def check_label(value: str) -> None:
    """Refuse what is no namespace name (an RFC 1123 label)."""
    if not _LABEL.fullmatch(value):
        raise ValidationError(f"{value!r} is no namespace name: lower-case letters, digits and dashes, 63 at most.")


def check_network(value: Any) -> None:
    """Refuse what is no IPv4 network."""
    try:
        ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValidationError(f"{value!r} is no IPv4 network such as 10.110.0.0/20: {error}.") from None


def check_networks(value: Any) -> None:
    """Refuse what is no list of IPv4 networks."""
    if not isinstance(value, list) or len(value) > MAX_LOCAL_NETWORKS:
        raise ValidationError(f'Give a list of at most {MAX_LOCAL_NETWORKS} networks, such as ["10.244.0.0/16"].')
    for network in value:
        check_network(network)
