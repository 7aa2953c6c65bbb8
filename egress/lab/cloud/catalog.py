"""What the lab's cloud sells: regions, sizes and images by their real slugs."""

from dataclasses import dataclass

REGIONS = {
    "ams3": "Amsterdam 3",
    "fra1": "Frankfurt 1",
    "nyc1": "New York 1",
    "nyc3": "New York 3",
    "sfo3": "San Francisco 3",
}
#: Slug: (number, distribution, name). A create or rebuild may name an image by either slug or number.
IMAGES = {
    "ubuntu-22-04-x64": (112929454, "Ubuntu", "22.04 (LTS) x64"),
    "ubuntu-24-04-x64": (155133621, "Ubuntu", "24.04 (LTS) x64"),
    "debian-12-x64": (139080547, "Debian", "12 x64"),
}


@dataclass(frozen=True, slots=True)
class Size:
    """A kind of Droplet: memory in MiB, disk in GiB, transfer in TiB, price in USD per month."""

    memory: int
    vcpus: int
    disk: int
    transfer: float
    price_monthly: float


SIZES = {
    "s-1vcpu-512mb-10gb": Size(512, 1, 10, 0.5, 4),
    "s-1vcpu-1gb": Size(1024, 1, 25, 1, 6),
    "s-1vcpu-2gb": Size(2048, 1, 50, 2, 12),
    "s-2vcpu-2gb": Size(2048, 2, 60, 3, 18),
    "s-2vcpu-4gb": Size(4096, 2, 80, 4, 24),
    "s-4vcpu-8gb": Size(8192, 4, 160, 5, 48),
}


def image_slug(image: str | int) -> str | None:
    """Return the slug of the image that `image` names by slug or number, None if there is none."""
    if isinstance(image, str):
        return image if image in IMAGES else None
    return next((slug for slug, (number, _, _) in IMAGES.items() if number == image), None)
