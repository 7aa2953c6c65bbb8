"""Django's entry for the control plane."""

from django.apps import AppConfig


class ControlConfig(AppConfig):
    """Control plane."""

    name = "egress.control"
    label = "control"
    verbose_name = "Dedicated egress"
    default_auto_field = "django.db.models.BigAutoField"
