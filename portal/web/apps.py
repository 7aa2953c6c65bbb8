"""Django's entry for the web app."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Pages for customers."""

    name = "portal.web"
    label = "web"
