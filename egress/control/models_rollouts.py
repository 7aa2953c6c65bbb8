"""What is done to gateways on purpose."""

from django.db import models


class Maintenance(models.TextChoices):
    """What a gateway is drained for; all between the first and the last keep its server, and bring it back."""

    #: It stays out of use until somebody takes it back.
    HOLD = "hold", "Kept out of use"
    REBOOT = "reboot", "Reboot"
    POWER_CYCLE = "power_cycle", "Power cycle"
    REBUILD = "rebuild", "Rebuild from a fresh image"
    #: Not this one: it gives way to a new server, with another address.
    REPLACE = "replace", "Replace by a new server"


class Maintained(models.Model):
    """What a gateway's row knows of its maintenance."""

    #: What it drains for, or is in maintenance for; "" while it is in use.
    maintenance = models.CharField(max_length=12, choices=Maintenance.choices, blank=True, editable=False)
    #: The provider's id of the action under way; "" while none is known to be.
    action_id = models.CharField(max_length=64, blank=True, editable=False)
    #: The boot that the last maintenance ended: a report of that one doesn't make it ready.
    left_boot_id = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        abstract = True
