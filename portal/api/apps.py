"""Django's entry for the api app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The REST API, version 1."""

    name = "portal.api"
    label = "api"

    def ready(self) -> None:
        """Make the token's scheme known to the API's description."""
        from . import schema  # noqa: F401, PLC0415  # importing it registers it; models must be loaded first
