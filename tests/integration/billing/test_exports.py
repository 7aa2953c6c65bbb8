"""What exports hold, and that it adds up."""

import csv
import io
import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from billing.exports.selection import Format, Grain, Selection
from billing.exports.stream import write
from tests.integration.billing.exports_made import (
    MONTH,
    price,
    whole_month,
)

pytestmark = pytest.mark.django_db

AMOUNTS = {Format.CSV: "amount", Format.JSONL: "amount", Format.FOCUS: "BilledCost"}


def exported(form: Format = Format.CSV, grain: Grain = Grain.HOUR, **selected: Any) -> list[dict[str, Any]]:
    text = b"".join(write(Selection(month=MONTH, **selected), form, grain)).decode()
    if form == Format.JSONL:
        return [json.loads(row, parse_float=Decimal) for row in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("grain", Grain)
@pytest.mark.parametrize("form", Format)
def test_sum_is_the_statements_to_the_cent(form: Format, grain: Grain) -> None:
    price()
    made = [whole_month() for _ in range(2)]

    rows = exported(form, grain)

    assert sum(Decimal(row[AMOUNTS[form]]) for row in rows) == Decimal(sum(each.total_cents for each in made)) / 100


@pytest.mark.parametrize("grain", Grain)
def test_each_line_adds_up_by_itself(grain: Grain) -> None:
    made = whole_month()

    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in exported(grain=grain):
        sums[row["line_id"]] += Decimal(row["amount"])

    assert sums == {str(each.pk): Decimal(each.cents) / 100 for each in made.lines.all()}
