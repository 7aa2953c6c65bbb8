"""FOCUS 1.2, the FinOps Open Cost and Usage Specification, as CSV. ADR 28 says what each column is here."""

import json
from collections.abc import Iterable
from decimal import Decimal

from django.conf import settings

from billing.models import StatementLine

from .bills import Charge
from .cells import csv_row, money, plain, stamp
from .pieces import Piece
from .spread import DECIMALS
from .usage import gateway_of

Kind = StatementLine.Kind

#: What all pieces of a charge have in common, what they don't, and our own columns, which FOCUS wants last.
CONSTANT = (
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "InvoiceId",
    "InvoiceIssuerName",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)
VARYING = (
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ListUnitPrice",
    "ContractedUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ConsumedQuantity",
    "ConsumedUnit",
)
OWN = ("x_Status", "x_StatementLineId", "x_Cluster")

_USAGE = (Kind.USAGE, Kind.TRAFFIC)
#: A correction is of usage, too, but of a month that was billed before: its ChargeClass says so.
CATEGORIES = {
    Kind.USAGE: "Usage",
    Kind.TRAFFIC: "Usage",
    Kind.CORRECTION: "Usage",
    Kind.DISCOUNT: "Adjustment",
    Kind.CREDIT: "Credit",
}
#: SKU, what it meters, and the units in which it is priced and consumed.
_GATEWAY = ("egress-gateway-hour", "Gateway Hours", "Hours", "Seconds")
_TRAFFIC = ("egress-traffic-gib", "Data Transfer", "GiB", "B")
_SKUS = {Kind.USAGE: _GATEWAY, Kind.CORRECTION: _GATEWAY, Kind.TRAFFIC: _TRAFFIC}
_PER_UNIT = {Kind.USAGE: Decimal(3600), Kind.TRAFFIC: Decimal(2**30)}
#: Quantities are rounded to this, and costs are counted from what is shown, so that price times quantity is the cost.
_QUANTITY = Decimal(1).scaleb(-DECIMALS)


class Focus:
    """FOCUS 1.2 as CSV."""

    name = "focus-1.2"
    suffix = "csv"
    content_type = "text/csv; charset=utf-8"

    def header(self) -> str:
        """Return the columns' names."""
        return csv_row((*CONSTANT, *VARYING, *OWN))

    def rows(self, charge: Charge, pieces: Iterable[Piece]) -> str:
        """Return a charge's rows."""
        begin = csv_row(constants_of(charge)).removesuffix("\r\n")
        end = csv_row(own_of(charge))
        listed = _Listed(charge)
        rows = []
        for piece in pieces:
            cost = money(piece.amount)
            rows.append(
                f"{begin},{stamp(piece.begin)},{stamp(piece.end)},{cost},{cost},{listed.cells(piece, cost)},{end}"
            )
        return "".join(rows)


class _Listed:
    """The cells from ListCost to ConsumedUnit; most hours of a charge have the same ones, which are made once."""

    def __init__(self, charge: Charge) -> None:
        self._kind = charge.kind
        self._exact = charge.exact
        self._made: dict[tuple[int, Decimal], str] = {}

    def cells(self, piece: Piece, cost: str) -> str:
        """Return them, separated; without a unit price, list and contracted cost are what is billed."""
        if self._kind not in _USAGE:
            return f"{cost},{cost},,,,,,"
        price = Decimal(0)
        if piece.price:
            price = piece.price.per_slot_hour if self._kind == Kind.USAGE else piece.price.per_gib
        key = (piece.quantity, price)
        if key not in self._made:
            self._made[key] = self._priced(piece.quantity, price)
        return self._made[key]

    def _priced(self, consumed: int, price: Decimal) -> str:
        _, _, unit, consumed_unit = _SKUS[self._kind]
        quantity = (Decimal(consumed) / _PER_UNIT[self._kind]).quantize(_QUANTITY)
        if self._kind == Kind.TRAFFIC and price:
            # What is included isn't priced.
            quantity = (self._exact / price).quantize(_QUANTITY)
        cost = plain(price * quantity)
        return f"{cost},{cost},{plain(price)},{plain(price)},{plain(quantity)},{unit},{consumed}.0,{consumed_unit}"


def constants_of(charge: Charge) -> tuple[str | None, ...]:
    """Return a charge's values in the order of `CONSTANT`."""
    bill, app, cluster = charge.bill, charge.app, charge.cluster
    sku, meter, _, _ = _SKUS.get(charge.kind, (None,) * 4) if app else (None,) * 4
    issuer = settings.BILLING_ISSUER
    region = cluster.region if cluster else None
    return (
        str(bill.team.pk),
        bill.team.name,
        bill.currency,
        stamp(bill.begin),
        stamp(bill.end),
        CATEGORIES[charge.kind],
        "Correction" if charge.kind == Kind.CORRECTION else None,
        charge.description,
        "Usage-Based" if charge.kind in _USAGE else "One-Time",
        str(bill.statement) if bill.statement else None,
        issuer,
        issuer,
        issuer,
        region,
        region,
        *_resource(charge),
        "Networking",
        "Dedicated egress",
        "Network Routing",
        sku,
        meter,
        None,
        f"{sku}:{cluster}" if sku else None,
        str(app.pk) if app else None,
        app.name if app else None,
        _tags(charge),
    )


def _resource(charge: Charge) -> tuple[str | None, str | None, str | None]:
    """Return id, name and type of the gateway slot, or of the pair where no slot is named."""
    if not (charge.app and charge.assignment):
        return (None, None, None)
    gateway = gateway_of(charge)
    if gateway is None:
        return (str(charge.assignment), charge.app.name, "Egress gateway pair")
    return (f"{charge.assignment}/{gateway}", f"{charge.app.name} {gateway}", "Egress gateway")


def _tags(charge: Charge) -> str | None:
    if charge.app is None:
        return None
    tags = {"sluicegate/cluster": charge.app.cluster.name, "sluicegate/namespace": charge.app.namespace}
    return json.dumps(tags, ensure_ascii=False)


def own_of(charge: Charge) -> tuple[str | None, ...]:
    """Return a charge's values in the order of `OWN`."""
    bill = charge.bill
    return (
        "Final" if bill.statement else "Estimate",
        str(charge.line) if charge.line else None,
        charge.cluster.name if charge.cluster else None,
    )
