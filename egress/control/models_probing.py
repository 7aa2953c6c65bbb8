"""How the nodes of a cluster judge its gateways: columns of Cluster, see docs/adr/0017-suspect-and-dead.md."""

from django.db import models

from egress.wire.messages import Probing

from .validators import check_probing, wire_bounds

DEFAULTS = Probing()


class ProbingSettings(models.Model):
    """The columns of `egress.wire.messages.Probing`."""

    probe_interval_ms = models.PositiveIntegerField(
        default=DEFAULTS.interval_ms,
        validators=wire_bounds("interval_ms", Probing),
        help_text="From one probe of a gateway to the next, in milliseconds. Costs each node CPU in proportion.",
    )
    probe_misses_to_suspect = models.PositiveIntegerField(
        default=DEFAULTS.misses_to_suspect,
        validators=wire_bounds("misses_to_suspect", Probing),
        help_text="So many probes in a row without an answer, and new connections take the other gateway.",
    )
    probe_dead_after_ms = models.PositiveIntegerField(
        default=DEFAULTS.dead_after_ms,
        validators=wire_bounds("dead_after_ms", Probing),
        help_text="After so many milliseconds without any sign of life a gateway's connections are reset.",
    )
    probe_hold_down_seconds = models.PositiveIntegerField(
        default=DEFAULTS.hold_down_seconds,
        validators=wire_bounds("hold_down_seconds", Probing),
        help_text="A gateway that came back must be well for so long before new connections prefer it again.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        """Refuse a death that comes too soon after suspicion."""
        super().clean()
        check_probing(self.probe_interval_ms, self.probe_misses_to_suspect, self.probe_dead_after_ms)

    @property
    def probing(self) -> Probing:
        """The settings as nodes are told them."""
        return Probing(
            interval_ms=self.probe_interval_ms,
            misses_to_suspect=self.probe_misses_to_suspect,
            dead_after_ms=self.probe_dead_after_ms,
            hold_down_seconds=self.probe_hold_down_seconds,
        )
