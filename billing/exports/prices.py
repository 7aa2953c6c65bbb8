"""List prices, for the columns that tell what usage would cost without cap, allowance and discount."""

from collections import defaultdict
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.db.models import Q

from billing.models import Price
from egress.control.models import Cluster


class ListPrices:
    """The prices in force at some time of a period, read once; a cluster's own comes before the general one."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self._begin, self._end = begin, end
        self._books: dict[str, Any] = {}
        self._known: dict[tuple[int | None, str, datetime], Price | None] = {}

    def at(self, cluster_id: int | None, currency: str, moment: datetime) -> Price | None:
        """Return the price in force; None where there is none."""
        key = (cluster_id, currency, moment)
        if key not in self._known:
            if currency not in self._books:
                self._books[currency] = _book(currency, self._begin, self._end)
            self._known[key] = self._books[currency].at(cluster_id, moment)
        return self._known[key]


def _book(currency: str, begin: datetime, end: datetime) -> Any:
    """Return rating's own book of prices, which knows the settings' price, too; where there is no rating, the rows."""
    if find_spec("billing.rating") is None:
        return _Rows(currency, begin, end)
    clusters = set(Cluster.objects.values_list("pk", flat=True))
    return import_module("billing.rating.prices").price_book(currency, clusters, begin, end)


class _Rows:
    """The rows of prices; goes when rating is there."""

    def __init__(self, currency: str, begin: datetime, end: datetime) -> None:
        self._periods: dict[int | None, list[Price]] = defaultdict(list)
        in_force = Price.objects.filter(Q(ends_at=None) | Q(ends_at__gt=begin), starts_at__lt=end, currency=currency)
        for price in in_force.order_by("starts_at", "pk"):
            self._periods[price.cluster_id].append(price)

    def at(self, cluster_id: int | None, moment: datetime) -> Price | None:
        return self._of(cluster_id, moment) or self._of(None, moment)

    def _of(self, cluster_id: int | None, moment: datetime) -> Price | None:
        for price in self._periods.get(cluster_id, ()):
            if price.starts_at <= moment and (price.ends_at is None or moment < price.ends_at):
                return price
        return None
