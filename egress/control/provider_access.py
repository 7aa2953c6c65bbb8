"""The one place that makes the provider from settings."""

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from egress.provider.base import Provider

from .metrics import tallies


def provider() -> Provider:
    """Return the provider that `EGRESS_PROVIDER` names."""
    made: Provider = import_string(settings.EGRESS_PROVIDER)()
    return made


@cache
def digitalocean() -> Provider:
    """Return DigitalOcean's adapter, once a process: its connections are kept."""
    # Imported here: pydo takes seconds and 70 MB, and only workers need it.
    from egress.provider.digitalocean import DigitalOcean  # noqa: PLC0415

    return DigitalOcean(
        settings.DIGITALOCEAN_TOKEN,
        api_url=settings.DIGITALOCEAN_API_URL,
        ca_file=settings.DIGITALOCEAN_CA_FILE,
        answered=tallies.provider_answered,
    )
