"""What every page must say where no packets are steered."""

from django.conf import settings
from django.http import HttpRequest


def simulated(_request: HttpRequest) -> dict[str, bool]:
    """Tell templates, as `simulated`, whether agents only record here what they would do."""
    return {"simulated": bool(settings.SIMULATED)}


def admin_label(_request: HttpRequest) -> list[str] | None:
    """Return the label that stands on every page of the admin, and its tone; None for none."""
    return ["Simulated: no packets are steered", "warning"] if settings.SIMULATED else None


def admin_title_prefix(_request: HttpRequest) -> str | None:
    """Return what the titles of the admin's pages begin with."""
    return "[simulated]" if settings.SIMULATED else None
