"""Whom an operator lets ask a cluster's gateways for their metrics."""

from typing import Any

from django.db import models

from .validators import check_scrapers


class HasScrapers(models.Model):
    """A cluster's column of scrapers. Changed by `services.cluster_change`, told to gateways by their sync."""

    scrapers = models.JSONField(
        default=list,
        blank=True,
        help_text="Who may ask gateways for their metrics, with METRICS_TOKEN: addresses of machines in the VPC,"
        " as a JSON list, at most 8.",
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        """Refuse scrapers outside of the VPC."""
        super().clean()
        network: Any = self
        check_scrapers(self.scrapers, network.vpc)
