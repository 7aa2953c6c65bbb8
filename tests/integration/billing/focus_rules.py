"""Check a dataset against FOCUS 1.2, as its specification has it: columns, values, and what one column says of another.

Only of what our exports can hold: no commitment discounts, capacity reservations, virtual currencies or taxes.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation

Row = Mapping[str, str]

#: Of feature level "Mandatory", and of level "Conditional" where the condition holds here: metered usage, unit prices
#: that are published, resources with types, regions, sub accounts, tags.
MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
CONDITIONAL = {
    *("ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice", "RegionId", "RegionName"),
    *("ResourceId", "ResourceName", "ResourceType", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId"),
    *("SubAccountId", "SubAccountName", "Tags"),
}
RECOMMENDED = {"ChargeFrequency", "InvoiceId", "ServiceSubcategory"}
#: BillingAccountName and ChargeDescription may be, but should not.
NEVER_NULL = (MANDATORY - {"ChargeClass", "PricingQuantity", "PricingUnit"}) | {"ChargeFrequency", "ServiceSubcategory"}
COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
PRICES = ("ContractedUnitPrice", "ListUnitPrice")
NUMBERS = (*COSTS, *PRICES, "ConsumedQuantity", "PricingQuantity")
TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "ServiceCategory": {
        *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools"),
        *("Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media"),
        *("Migration", "Mobile", "Networking", "Security", "Storage", "Web", "Other"),
    },
}
NETWORKING = {
    *("Application Networking", "Content Delivery", "Network Connectivity", "Network Infrastructure"),
    *("Network Routing", "Network Security", "Other (Networking)"),
}
#: What must be null together, or be there together.
TOGETHER = (
    ("PricingQuantity", "PricingUnit"),
    ("ConsumedQuantity", "ConsumedUnit"),
    ("RegionId", "RegionName"),
    ("ResourceId", "ResourceType"),
    ("SubAccountId", "SubAccountName"),
)
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(E-?[0-9]+)?")
TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z")
#: Seconds, GB-Hours, GiB/Hour, 1000 Requests.
UNIT = re.compile(r"([1-9][0-9]* )?[A-Z][A-Za-z]*((-[A-Z][a-z]+s)|(/([0-9]+ )?[A-Z][a-z]+))?")


def faults_of(columns: Iterable[str], rows: Iterable[Row]) -> list[str]:
    """Return what is wrong, each fault with the row's number."""
    columns = list(columns)
    faults = [*_of_columns(columns)]
    if not faults:
        rows = list(rows)
        faults = [f"row {number}: {fault}" for number, row in enumerate(rows, 1) for fault in _of_row(row)]
        faults += _across(rows)
    return faults


def _of_columns(columns: list[str]) -> Iterator[str]:
    if missing := (MANDATORY | CONDITIONAL | RECOMMENDED) - set(columns):
        yield f"missing: {sorted(missing)}"
    if len(set(columns)) != len(columns):
        yield "a column is there twice"
    own = [name for name in columns if name.startswith("x_")]
    if unknown := set(columns) - MANDATORY - CONDITIONAL - RECOMMENDED - set(own):
        yield f"neither FOCUS's nor with our prefix: {sorted(unknown)}"
    if columns[len(columns) - len(own) :] != own:
        yield "own columns come after FOCUS's"
    if bad := [name for name in columns if not re.fullmatch(r"(x_)?([A-Z][A-Za-z0-9]+)", name) or len(name) > 50]:
        yield f"not in Pascal case, or too long: {bad}"


def _of_row(row: Row) -> Iterator[str]:
    for rule in (_nulls, _formats, _values, _usage, _money, _periods, _json):
        yield from rule(row)


def _nulls(row: Row) -> Iterator[str]:
    for name in NEVER_NULL:
        if not row[name].strip():
            yield f"{name} is null"
    for one, other in TOGETHER:
        if bool(row[one]) != bool(row[other]):
            yield f"of {one} and {other} only one is null"
    if not row["SkuId"] and (row["SkuMeter"] or row["SkuPriceId"]):
        yield "a SKU's details without the SKU"
    if not row["SkuPriceId"] and row["SkuPriceDetails"]:
        yield "details of a price without its id"
    if not row["ResourceId"] and row["ResourceName"]:
        yield "a resource's name without its id"


def _formats(row: Row) -> Iterator[str]:
    for name in NUMBERS:
        if row[name] and not NUMBER.fullmatch(row[name]):
            yield f"{name} is {row[name]!r}, no number"
    for name in TIMES:
        if not TIME.fullmatch(row[name]):
            yield f"{name} is {row[name]!r}, no time in UTC"
    if not re.fullmatch("[A-Z]{3}", row["BillingCurrency"]):
        yield f"BillingCurrency is {row['BillingCurrency']!r}, no code of ISO 4217"
    for name in ("PricingUnit", "ConsumedUnit"):
        if row[name] and not UNIT.fullmatch(row[name]):
            yield f"{name} is {row[name]!r}, no unit"


def _values(row: Row) -> Iterator[str]:
    for name, allowed in ALLOWED.items():
        if row[name] not in allowed:
            yield f"{name} is {row[name]!r}, which isn't allowed"
    if row["ServiceCategory"] == "Networking" and row["ServiceSubcategory"] not in NETWORKING:
        yield f"ServiceSubcategory is {row['ServiceSubcategory']!r}, which isn't one of Networking"
    if row["ChargeCategory"] == "Purchase" and row["ChargeFrequency"] == "Usage-Based":
        yield "a purchase is never Usage-Based"


def _usage(row: Row) -> Iterator[str]:
    if row["ChargeCategory"] != "Usage":
        if row["ConsumedQuantity"]:
            yield "ConsumedQuantity of what isn't usage"
    elif row["ChargeClass"] != "Correction":
        for name in ("ConsumedQuantity", "PricingQuantity", "SkuId", "SkuPriceId", *PRICES):
            if not row[name]:
                yield f"{name} of usage is null"


def _money(row: Row) -> Iterator[str]:
    try:
        number = {name: Decimal(row[name]) for name in NUMBERS if row[name]}
    except InvalidOperation:
        return
    for price, cost in (("ContractedUnitPrice", "ContractedCost"), ("ListUnitPrice", "ListCost")):
        if price not in number:
            if number.get(cost) != number.get("BilledCost"):
                yield f"{cost} isn't BilledCost, though there is no {price}"
            continue
        if number[price] < 0:
            yield f"{price} is negative"
        if "PricingQuantity" in number and row["ChargeClass"] != "Correction":
            product = number[price] * number["PricingQuantity"]
            if product != number.get(cost):
                yield f"{price} times PricingQuantity is {product}, but {cost} {row[cost]}"
    if row["ChargeCategory"] in {"Credit", "Adjustment"} and number.get("EffectiveCost") != number.get("BilledCost"):
        yield "EffectiveCost isn't BilledCost"


def _periods(row: Row) -> Iterator[str]:
    # Times of this form sort as text.
    begin, end = row["BillingPeriodStart"], row["BillingPeriodEnd"]
    if not begin < end:
        yield "the billing period doesn't go forward"
    if not row["ChargePeriodStart"] < row["ChargePeriodEnd"]:
        yield "the charge period doesn't go forward"
    inside = begin <= row["ChargePeriodStart"] and row["ChargePeriodEnd"] <= end
    if not inside and row["ChargeClass"] != "Correction":
        yield "a charge of another billing period that is no correction"


def _json(row: Row) -> Iterator[str]:
    for name in ("Tags", "SkuPriceDetails"):
        if not row[name]:
            continue
        try:
            pairs = json.loads(row[name], object_pairs_hook=list)
        except ValueError:
            yield f"{name} is no JSON"
            continue
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys) or any(isinstance(value, list | dict) for _, value in pairs):
            yield f"{name} isn't an object of unique keys and plain values"
        if name == "Tags" and any("/" not in key for key in keys):
            yield "a tag of ours without a prefix"


def _across(rows: list[Row]) -> Iterator[str]:
    """Yield what one row says otherwise than another."""
    for one, others in (
        ("ServiceName", ("ServiceCategory", "ServiceSubcategory")),
        ("SkuPriceId", ("SkuId",)),
        ("SkuId", ("SkuMeter",)),
        ("ResourceId", ("ResourceName", "ResourceType", "SubAccountId", "RegionId")),
        ("BillingAccountId", ("BillingAccountName",)),
        ("InvoiceId", ("BillingAccountId", "BillingCurrency", "BillingPeriodStart")),
    ):
        said: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for row in rows:
            said[row[one]].add(tuple(row[other] for other in others))
        for value, different in said.items():
            if value and len(different) > 1:
                yield f"{one} {value} goes with several {others}"
