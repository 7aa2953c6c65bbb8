"""Checks on what operators type: the same rules as the wire format's, so that no agent chokes on a row."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from django.core.exceptions import ValidationError
from django.core.validators import BaseValidator, MaxValueValidator, MinValueValidator

from egress.wire.codec import Bounds
from egress.wire.messages import MAX_SCRAPERS, MAX_TARGETS, ClusterSettings

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
MAX_LOCAL_NETWORKS = 200
#: What is no internet for a cluster isn't diverted: with shorter prefixes hardly anything would be. 10.0.0.0/8 has 8.
MIN_PREFIX = 8
#: Fewer bits hold no gateway: some values mean other things.
MIN_MASK_BITS = 3
#: Kubernetes gives services of type NodePort these.
NODE_PORTS = range(30_000, 32_768)
#: A gateway is dead after so many times what made it suspect, at the earliest.
SUSPICIONS_TO_DEATH = 2
#: What agents do without being told otherwise.
DEFAULTS = ClusterSettings(vpc="", local_networks=())


def check_label(value: str) -> None:
    """Refuse what is no namespace name (an RFC 1123 label)."""
    if not _LABEL.fullmatch(value):
        raise ValidationError(f"{value!r} is no namespace name: lower-case letters, digits and dashes, 63 at most.")


def check_network(value: Any) -> None:
    """Refuse what is no IPv4 network, is written otherwise than on the wire, or takes in much of the internet."""
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValidationError(f"{value!r} is no IPv4 network such as 10.110.0.0/20: {error}.") from None
    if str(network) != value:
        # Agents read no other form: they would refuse all that they are told.
        raise ValidationError(f"Write {value!r} with its prefix length, as {network}.")
    if network.prefixlen < MIN_PREFIX:
        raise ValidationError(
            f"{value} holds {network.num_addresses:,} addresses, which apps would reach from shared addresses:"
            f" a prefix of at least /{MIN_PREFIX} is wanted."
        )


def check_networks(value: Any) -> None:
    """Refuse what is no list of IPv4 networks."""
    if not isinstance(value, list) or len(value) > MAX_LOCAL_NETWORKS:
        raise ValidationError(f'Give a list of at most {MAX_LOCAL_NETWORKS} networks, such as ["10.244.0.0/16"].')
    for network in value:
        check_network(network)


def check_targets(value: Any) -> None:
    """Refuse what is no list of different public IPv4 addresses, or is too long."""
    if not isinstance(value, list) or len(value) > MAX_TARGETS:
        raise ValidationError(f'Give a list of at most {MAX_TARGETS} addresses, such as ["1.1.1.1", "9.9.9.9"].')
    for target in value:
        if not _is_public(target):
            raise ValidationError(f"{target!r} is no public IPv4 address such as 9.9.9.9.")
    if len(set(value)) < len(value):
        raise ValidationError("Name each address once: several that fail together are worth no more than one.")


def _is_public(value: Any) -> bool:
    try:
        address = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def check_scrapers(value: Any, vpc: str) -> None:
    """Refuse what is no short list of IPv4 addresses in `vpc`."""
    if not isinstance(value, list) or len(value) > MAX_SCRAPERS:
        raise ValidationError(f'Give a list of at most {MAX_SCRAPERS} addresses, such as ["10.110.0.5"].')
    for address in value:
        try:
            inside = ipaddress.IPv4Address(address if isinstance(address, str) else "") in ipaddress.IPv4Network(vpc)
        except ValueError as error:
            raise ValidationError(f"{address!r} is no IPv4 address such as 10.110.0.5: {error}.") from None
        if not inside:
            raise ValidationError(f"{address} isn't in the VPC {vpc}: gateways are asked for metrics from there only.")


def wire_bounds(name: str, kind: type = ClusterSettings) -> list[BaseValidator]:
    """Return validators with the limits that the wire sets to the numbers in field `name` of `kind`."""
    hint = get_type_hints(kind, include_extras=True)[name]
    bounds = next(_innermost_bounds(hint))
    return [MinValueValidator(bounds.low), MaxValueValidator(bounds.high)]


def _innermost_bounds(hint: Any) -> Iterator[Bounds]:
    for argument in get_args(hint):
        yield from _innermost_bounds(argument)
    yield from (each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Bounds))


def check_mask(value: int) -> None:
    """Refuse bits that don't hang together, or too few."""
    lowest = value & -value
    if value <= 0 or (value + lowest) & value or value.bit_count() < MIN_MASK_BITS:
        raise ValidationError(f"{value:#x} isn't one run of at least {MIN_MASK_BITS} bits, such as 0x0fff0000.")


def check_probing(interval_ms: int, misses_to_suspect: int, dead_after_ms: int) -> None:
    """Refuse a death so close to suspicion that nobody can see whether packets still come back."""
    suspect_ms = interval_ms * misses_to_suspect
    if dead_after_ms < SUSPICIONS_TO_DEATH * suspect_ms:
        raise ValidationError(
            f"A gateway is suspect after {misses_to_suspect} probes of {interval_ms} ms, so {suspect_ms} ms:"
            f" it can't be dead before {SUSPICIONS_TO_DEATH * suspect_ms} ms; {dead_after_ms} ms is too soon."
        )


def check_snat_ports(first: int, last: int) -> None:
    """Refuse a range that is empty or holds NodePorts, whose traffic the node would mistake for replies."""
    if first >= last:
        raise ValidationError(f"The range of source ports {first}-{last} is empty: the first must be below the last.")
    if first <= NODE_PORTS[-1] and last >= NODE_PORTS[0]:
        raise ValidationError(f"Source ports {first}-{last} overlap NodePorts, {NODE_PORTS[0]}-{NODE_PORTS[-1]}.")
