import importlib
from typing import Any

import pytest

from billing.standin.app import endpoints
from billing.standin.checks import check
from billing.standin.errors import ApiError
from billing.standin.things.endpoint import Endpoint


def refusal(params: str, form: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as raised:
        check(params, form)
    assert raised.value.status == 400
    return raised.value


def test_numbers_and_booleans_come_out_as_such() -> None:
    form = {"amount": "-120", "currency": "usd", "discountable": "true", "period": {"start": "1", "end": "2"}}
    assert check("InvoiceItemCreateParams", form) == {
        "amount": -120,
        "currency": "usd",
        "discountable": True,
        "period": {"start": 1, "end": 2},
    }


@pytest.mark.parametrize(
    ("params", "form", "code", "param"),
    [
        ("CustomerCreateParams", {"emial": "a@example.com"}, "parameter_unknown", "emial"),
        ("CustomerCreateParams", {"address": {"zip": "1"}}, "parameter_unknown", "address[zip]"),
        (
            "InvoiceCreateParams",
            {"custom_fields": [{"name": "PO", "value": "1"}, {"name": "PO", "valeu": "1"}]},
            "parameter_unknown",
            "custom_fields[1][valeu]",
        ),
        ("CustomerCreateParams", {"idempotency_key": "k"}, "parameter_unknown", "idempotency_key"),
        ("InvoiceItemCreateParams", {"period": {"start": "1"}}, "parameter_missing", "period[end]"),
        ("CustomerTaxIdCreateParams", {"type": "eu_vat"}, "parameter_missing", "value"),
        ("InvoiceItemCreateParams", {"amount": "1.5"}, "parameter_invalid_integer", "amount"),
        ("InvoiceItemCreateParams", {"amount": "1e3"}, "parameter_invalid_integer", "amount"),
        ("InvoiceItemCreateParams", {"amount": {"x": "1"}}, "parameter_invalid_integer", "amount"),
        ("InvoiceCreateParams", {"auto_advance": "yes"}, "", "auto_advance"),
        ("InvoiceCreateParams", {"collection_method": "barter"}, "", "collection_method"),
        ("CustomerTaxIdCreateParams", {"type": "eu_cat", "value": "1"}, "", "type"),
        ("CustomerCreateParams", {"metadata": ["x"]}, "", "metadata"),
        ("CustomerTaxIdCreateParams", {"type": "eu_vat", "value": ""}, "parameter_invalid_empty", "value"),
        ("CustomerCreateParams", {"description": "x" * 5_001}, "", "description"),
    ],
)
def test_what_stripe_does_not_take_is_refused_by_name(params: str, form: dict[str, Any], code: str, param: str) -> None:
    error = refusal(params, form)
    assert (error.code, error.param) == (code, param)
    assert param in error.message or code == "parameter_invalid_integer" or param == "auto_advance"


def test_what_may_be_unset_may_be_empty() -> None:
    form = {"metadata": "", "address": "", "name": "", "invoice_settings": {"custom_fields": ""}}
    assert check("CustomerUpdateParams", form) == form


def test_an_empty_value_removes_one_key_of_metadata() -> None:
    assert check("CustomerUpdateParams", {"metadata": {"a": ""}}) == {"metadata": {"a": ""}}


@pytest.mark.parametrize("endpoint", endpoints(), ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_an_endpoint_takes_only_what_stripe_python_sends(endpoint: Endpoint) -> None:
    module, _, name = f"stripe.params.{endpoint.params}".rpartition(".")
    known = getattr(importlib.import_module(module), name).__annotations__
    assert set(endpoint.takes.split()) <= set(known)
    assert set(known) >= {"expand"} or "expand" not in endpoint.takes


def test_what_stripe_takes_and_the_stand_in_does_not_is_refused_and_not_ignored() -> None:
    create = next(endpoint for endpoint in endpoints() if endpoint.name == "invoices.create")
    params = check(create.params, {"customer": "cus_1", "footer": "x", "on_behalf_of": "acct_1"})
    with pytest.raises(ApiError, match="on_behalf_of") as raised:
        create.refuse_beyond(params)
    assert raised.value.param == "on_behalf_of"


def test_no_two_endpoints_share_an_address() -> None:
    addresses = [(endpoint.method, endpoint.path) for endpoint in endpoints()]
    assert len(set(addresses)) == len(addresses)
