"""What every page must say while the control plane stands still."""

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from egress.control.installation import changes_wait


def held(_request: HttpRequest) -> dict[str, object]:
    """Tell templates, as `changes_wait`, what customers must know of their changes; "" where they don't wait."""
    # Asked for only where it is shown.
    return {"changes_wait": SimpleLazyObject(changes_wait)}
