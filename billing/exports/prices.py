"""List prices, for the columns that tell what usage would cost without cap, allowance and discount."""

from datetime import datetime

from billing.models import Price
from billing.rating.prices import PriceBook, price_book
from egress.control.models import Cluster


class ListPrices:
    """The prices in force at some time of a period, read once; a cluster's own comes before the general one."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self._begin, self._end = begin, end
        self._clusters = set(Cluster.objects.values_list("pk", flat=True))
        self._books: dict[str, PriceBook] = {}
        self._known: dict[tuple[int | None, str, datetime], Price | None] = {}

    def at(self, cluster_id: int | None, currency: str, moment: datetime) -> Price | None:
        """Return the price in force; None where there is none."""
        key = (cluster_id, currency, moment)
        if key not in self._known:
            if currency not in self._books:
                self._books[currency] = price_book(currency, self._clusters, self._begin, self._end)
            self._known[key] = self._books[currency].at(cluster_id, moment)
        return self._known[key]
