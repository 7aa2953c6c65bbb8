"""Entries in a customer's balance, each of which moves it: below zero the customer has money in hand."""

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.listing import page_of
from billing.standin.store import Json, new_id

from . import customers, settling
from .endpoint import PAGING, Endpoint, metadata


def endpoints() -> list[Endpoint]:
    """Return the addresses of balance transactions."""
    every = "/v1/customers/{}/balance_transactions"
    created, name = "amount currency description metadata", "customer_balance_transactions"
    return [
        Endpoint("POST", every, f"{name}.create", "CustomerBalanceTransactionCreateParams", create, created),
        Endpoint("GET", every, f"{name}.list", "CustomerBalanceTransactionListParams", list_all, PAGING),
    ]


def create(account: Account, params: Params, customer_id: str) -> Json:
    """Move a customer's balance by an amount."""
    customer = customers.living(account, customer_id, param="id")
    if params["amount"] == 0:
        raise invalid("The amount must not be zero.", param="amount")
    balance = customer["balance"] + params["amount"]
    settling.set_balance(account, customer, balance)
    row: Json = {
        "id": new_id("cbtxn"),
        "object": "customer_balance_transaction",
        "amount": params["amount"],
        "checkout_session": None,
        "created": account.now(),
        "credit_note": None,
        "currency": params["currency"].lower(),
        "customer": customer_id,
        "description": params.get("description"),
        "ending_balance": balance,
        "invoice": None,
        "livemode": False,
        "metadata": metadata(params),
        "type": "adjustment",
    }
    # Stripe has no event for it; the customer's tells it.
    return account.add(row)


def list_all(account: Account, params: Params, customer_id: str) -> Json:
    """List a customer's entries: those that were made by hand, for the others are told by their invoices."""
    customers.living(account, customer_id, param="id")
    kind, address = "customer_balance_transaction", f"/v1/customers/{customer_id}/balance_transactions"
    return page_of(account, kind, params, address, customer=customer_id)
