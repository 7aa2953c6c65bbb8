"""Droplets, actions and lists in the JSON shapes of DigitalOcean's API description."""

import ipaddress
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from .catalog import IMAGES, REGIONS, SIZES
from .requests import Page
from .state import Action, CloudLayout, Droplet

T = TypeVar("T")

_PUBLIC_NETMASK = "255.255.255.0"
_PRIVATE_NETMASK = "255.255.240.0"
_HOURS_PER_BILLED_MONTH = 672


def droplet_view(droplet: Droplet) -> dict[str, Any]:
    """Return `droplet` as the API shows it."""
    size = SIZES[droplet.size]
    return {
        "id": droplet.id,
        "name": droplet.name,
        "memory": size.memory,
        "vcpus": size.vcpus,
        "disk": size.disk,
        "locked": droplet.status == "new",
        "status": droplet.status,
        "kernel": None,
        "created_at": _timestamp(droplet.created_at),
        "features": ["private_networking"],
        "backup_ids": [],
        "next_backup_window": None,
        "snapshot_ids": [],
        "image": image_view(droplet.image),
        "volume_ids": [],
        "size": _size_view(droplet.size),
        "size_slug": droplet.size,
        "networks": {"v4": _addresses(droplet) if droplet.addressed else [], "v6": []},
        "region": _region_view(droplet.region),
        "tags": list(droplet.tags),
        "vpc_uuid": droplet.vpc_uuid,
    }


def action_view(action: Action) -> dict[str, Any]:
    """Return `action` as the API shows it."""
    return {
        "id": action.id,
        "status": action.status,
        "type": action.type,
        "started_at": _timestamp(action.started_at),
        "completed_at": None if action.completed_at is None else _timestamp(action.completed_at),
        "resource_id": action.droplet_id,
        "resource_type": "droplet",
        "region": _region_view(action.region),
        "region_slug": action.region,
    }


def created_view(created: Sequence[tuple[Droplet, Action]], *, several: bool, base_url: str) -> dict[str, Any]:
    """Return the answer to a creation; `base_url` ends before `/v2`."""
    droplets = [droplet_view(droplet) for droplet, _ in created]
    links = [{"id": action.id, "rel": "create", "href": f"{base_url}/v2/actions/{action.id}"} for _, action in created]
    shown: dict[str, Any] = {"droplets": droplets} if several else {"droplet": droplets[0]}
    return {**shown, "links": {"actions": links}}


def list_view(name: str, items: Sequence[T], view: Callable[[T], Any], *, page: Page, url: str) -> dict[str, Any]:
    """Return one page of `items` under `name`, with links to its neighbours made from `url`."""
    first = (page.number - 1) * page.size
    return {
        name: [view(item) for item in items[first : first + page.size]],
        "links": _page_links(page, last=max(1, -(-len(items) // page.size)), url=url),
        "meta": {"total": len(items)},
    }


def tags_of(droplets: Sequence[Droplet]) -> list[dict[str, Any]]:
    """Return every tag in use, with the number of its Droplets; `droplets` come newest first."""
    tags: dict[str, dict[str, Any]] = {}
    for droplet in reversed(droplets):
        for tag in droplet.tags:
            count = tags[tag]["resources"]["count"] + 1 if tag in tags else 1
            used = {"count": count, "last_tagged_uri": f"https://api.digitalocean.com/v2/droplets/{droplet.id}"}
            tags[tag] = {"name": tag, "resources": {**used, "droplets": used}}
    return [tags[tag] for tag in sorted(tags)]


def neighbour_groups(droplets: Sequence[Droplet]) -> list[list[int]]:
    """Return the ids of Droplets that share a host, one list per such host."""
    hosts: dict[int, list[int]] = {}
    for droplet in droplets:
        hosts.setdefault(droplet.host, []).append(droplet.id)
    return [group for group in hosts.values() if len(group) > 1]


def account_view(layout: CloudLayout) -> dict[str, Any]:
    """Return the account that every token of the lab belongs to."""
    return {
        "account": {
            "droplet_limit": layout.droplet_limit,
            "floating_ip_limit": 0,
            "email": "lab@example.com",
            "name": "Lab",
            "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
            "email_verified": True,
            "status": "active",
            "status_message": "",
        }
    }


def _page_links(page: Page, *, last: int, url: str) -> dict[str, Any]:
    targets: dict[str, int] = {}
    if page.number > 1:
        targets |= {"first": 1, "prev": page.number - 1}
    if page.number < last:
        targets |= {"next": page.number + 1, "last": last}
    return {"pages": {name: _with_page(url, number) for name, number in targets.items()}} if targets else {}


def _with_page(url: str, number: int) -> str:
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "page"]
    return parts._replace(query=urlencode([("page", number), *query])).geturl()


def _addresses(droplet: Droplet) -> list[dict[str, str]]:
    return [
        _address(droplet.private_address, _PRIVATE_NETMASK, "private"),
        _address(droplet.public_address, _PUBLIC_NETMASK, "public"),
    ]


def _address(address: str, netmask: str, kind: str) -> dict[str, str]:
    network = ipaddress.IPv4Interface(f"{address}/{netmask}").network
    return {"ip_address": address, "netmask": netmask, "gateway": str(network.network_address + 1), "type": kind}


def image_view(slug: str) -> dict[str, Any]:
    """Return an image as the API shows it."""
    number, distribution, name = IMAGES[slug]
    return {
        "id": number,
        "name": name,
        "distribution": distribution,
        "slug": slug,
        "public": True,
        "regions": list(REGIONS),
        "created_at": "2026-01-01T00:00:00Z",
        "type": "base",
        "min_disk_size": 7,
        "size_gigabytes": 0.7,
        "tags": [],
        "status": "available",
        "error_message": "",
    }


def _size_view(slug: str) -> dict[str, Any]:
    size = SIZES[slug]
    return {
        "slug": slug,
        "description": "Basic",
        "memory": size.memory,
        "vcpus": size.vcpus,
        "disk": size.disk,
        "transfer": size.transfer,
        "price_monthly": size.price_monthly,
        "price_hourly": round(size.price_monthly / _HOURS_PER_BILLED_MONTH, 5),
        "regions": list(REGIONS),
        "available": True,
    }


def _region_view(slug: str) -> dict[str, Any]:
    return {
        "name": REGIONS[slug],
        "slug": slug,
        "features": ["metadata"],
        "available": True,
        "sizes": list(SIZES),
    }


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
