"""What an operator gives a cluster's gateways to know the internet by."""

from django.db import models

from .validators import check_targets


def default_targets() -> list[str]:
    """Return three public resolvers of three operators: they answer everywhere, and don't fail together."""
    return ["1.1.1.1", "8.8.8.8", "9.9.9.9"]


class HasTargets(models.Model):
    """A cluster's column of targets. Changed by `services.cluster_change`, told to gateways by their sync."""

    internet_targets = models.JSONField(
        default=default_targets,
        blank=True,
        validators=[check_targets],
        help_text="Public IPv4 addresses that answer pings, as a JSON list: a gateway that hears none of them takes no"
        " new connections while its peer does. Of different operators, at most 8; none, and nobody is asked.",
    )

    class Meta:
        abstract = True
