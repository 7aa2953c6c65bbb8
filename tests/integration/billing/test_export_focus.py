"""FOCUS exports against the rules of the specification, and the rules against faults that they must see."""

import csv
import io
from typing import Any

import pytest

from billing.exports.selection import Format, Grain, Selection
from billing.exports.stream import write
from tests.integration.billing.exports_made import BEGIN, HOUR, MONTH, price, whole_month
from tests.integration.billing.focus_rules import faults_of

pytestmark = [pytest.mark.django_db, pytest.mark.costly]

USAGE, TRAFFIC, DISCOUNT, CORRECTION, CREDIT = 0, -4, -3, -2, -1


def exported(grain: Grain = Grain.DAY) -> tuple[list[str], list[dict[str, str]]]:
    text = b"".join(write(Selection(month=MONTH), Format.FOCUS, grain)).decode()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = list(reader)
    return list(reader.fieldnames or ()), rows


@pytest.mark.parametrize("grain", Grain)
def test_export_keeps_the_specification(grain: Grain) -> None:
    price(ends_at=BEGIN + HOUR * 5)
    price("0.02", starts_at=BEGIN + HOUR * 5)
    for _ in range(2):
        whole_month()

    columns, rows = exported(grain)

    assert faults_of(columns, rows) == []
    assert len(rows) == 2 * (4 + (60 if grain == Grain.HOUR else 6))


def test_usage_without_any_list_price_keeps_it_too() -> None:
    whole_month()

    assert faults_of(*exported()) == []


def test_lines_of_every_kind_are_told_apart() -> None:
    whole_month()

    _, rows = exported()

    said = [(row["ChargeCategory"], row["ChargeClass"]) for row in rows[TRAFFIC:]]
    assert said == [("Usage", ""), ("Adjustment", ""), ("Usage", "Correction"), ("Credit", "")]


def test_an_invoice_id_adds_up_to_its_statement() -> None:
    statement = whole_month()

    assert {row["InvoiceId"] for row in exported()[1]} == {str(statement.pk)}


@pytest.mark.parametrize(
    ("row", "column", "value", "told"),
    [
        (USAGE, "BilledCost", "1,5", "no number"),
        (USAGE, "BilledCost", "+1", "no number"),
        (USAGE, "BilledCost", "1E+3", "no number"),
        (USAGE, "BilledCost", "", "BilledCost is null"),
        (USAGE, "ServiceName", "  ", "ServiceName is null"),
        (USAGE, "ChargeCategory", "usage", "isn't allowed"),
        (USAGE, "ServiceCategory", "Network", "isn't allowed"),
        (USAGE, "ServiceSubcategory", "Containers", "isn't one of Networking"),
        (USAGE, "ChargePeriodStart", "2026-10-01 00:00:00", "no time"),
        (USAGE, "ChargePeriodEnd", "2026-10-01T00:00:00Z", "doesn't go forward"),
        (USAGE, "ChargePeriodStart", "2026-09-30T00:00:00Z", "another billing period"),
        (USAGE, "BillingCurrency", "usd", "ISO 4217"),
        (USAGE, "ListCost", "99.0", "times PricingQuantity"),
        (USAGE, "ListUnitPrice", "", "ListUnitPrice of usage is null"),
        (USAGE, "PricingUnit", "", "only one is null"),
        (USAGE, "PricingUnit", "hours", "no unit"),
        (USAGE, "Tags", '{"a/b": [1]}', "plain values"),
        (USAGE, "Tags", '{"cluster": "fra1"}', "without a prefix"),
        (USAGE, "SkuMeter", "Another", "several"),
        (USAGE, "BillingAccountName", "Renamed", "several"),
        (DISCOUNT, "ConsumedQuantity", "1.0", "isn't usage"),
        (CORRECTION, "ChargeClass", "", "another billing period"),
        (CREDIT, "ListCost", "0.0", "isn't BilledCost"),
    ],
)
def test_the_rules_see_a_fault(row: int, column: str, value: str, told: str) -> None:
    price()
    whole_month()
    columns, rows = exported()

    rows[row][column] = value

    assert [fault for fault in faults_of(columns, rows) if told in fault]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda columns: columns[1:], "missing"),
        (lambda columns: [*columns, "Margin"], "neither"),
        (lambda columns: [*columns[::-1]], "after"),
        (lambda columns: [*columns, columns[0]], "twice"),
        (lambda columns: [*columns, "x_line-id"], "Pascal"),
    ],
)
def test_the_rules_see_wrong_columns(change: Any, told: str) -> None:
    columns, _ = exported()

    assert told in str(faults_of(change(columns), []))
