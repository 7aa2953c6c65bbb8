"""Django's entry for billing."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class BillingConfig(AppConfig):
    """Billing."""

    name = "billing"
    verbose_name = "Billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """See to it that what was written about money stays so in the database, too."""
        from .triggers import make_triggers  # noqa: PLC0415 - models can't be loaded before

        post_migrate.connect(make_triggers, sender=self, dispatch_uid="billing.triggers")
