"""Django's entry for the demo app."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """The demo and the lab's commands: the one room that may know all others."""

    name = "portal.demo"
    label = "demo"
