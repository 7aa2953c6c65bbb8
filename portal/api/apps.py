"""Django's entry for the api app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The REST API, version 1."""

    name = "portal.api"
    label = "api"
