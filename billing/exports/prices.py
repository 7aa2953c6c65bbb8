"""List prices, for the columns that tell what usage would cost without cap, allowance and discount."""

from collections import defaultdict
from datetime import datetime

from django.db.models import Q

from billing.models import Price


class ListPrices:
    """The prices in force at some time of a period, read once; a cluster's own comes before the general one."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self._periods: dict[tuple[int | None, str], list[Price]] = defaultdict(list)
        in_force = Price.objects.filter(Q(ends_at=None) | Q(ends_at__gt=begin), starts_at__lt=end)
        for price in in_force.order_by("starts_at", "pk"):
            self._periods[price.cluster_id, price.currency].append(price)
        self._known: dict[tuple[int | None, str, datetime], Price | None] = {}

    def at(self, cluster_id: int | None, currency: str, moment: datetime) -> Price | None:
        """Return the price in force; None where there is none."""
        key = (cluster_id, currency, moment)
        if key not in self._known:
            self._known[key] = self._of(cluster_id, currency, moment) or self._of(None, currency, moment)
        return self._known[key]

    def _of(self, cluster_id: int | None, currency: str, moment: datetime) -> Price | None:
        periods = self._periods.get((cluster_id, currency), ())
        # Were two in force, the later one counts.
        return next(
            (
                price
                for price in reversed(periods)
                if price.starts_at <= moment and (price.ends_at is None or moment < price.ends_at)
            ),
            None,
        )
