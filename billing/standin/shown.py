"""Objects as clients see them: an invoice with its first lines, an event with who waits for it; more on demand."""

from collections.abc import Callable
from typing import Any

from .account import Account
from .store import Json
from .things import customers, invoices, payments, refunds


def shown(account: Account, row: Json) -> Json:
    """Return an object as it is shown."""
    match row.get("object"):
        case "invoice":
            return row if "lines" in row else invoices.with_lines(account, row)
        case "event":
            return row | {"pending_webhooks": account.deliveries.pending(row["id"])}
    return row


def shown_all(account: Account, answer: Json) -> Json:
    """Return an answer, an object or a list, as it is shown."""
    if answer["object"] in ("list", "search_result"):
        return answer | {"data": [shown(account, row) for row in answer["data"]]}
    return answer if answer.get("deleted") else shown(account, answer)


def on_demand(account: Account) -> Callable[[Json, str], Any]:
    """Return what gives the parts of an object that are shown only when asked for."""

    def part(row: Json, name: str) -> Any:
        match row.get("object"), name:
            case "invoice", "payments":
                return payments.payments_of(account, row["id"])
            case "customer", "tax_ids":
                return customers.tax_ids_of(account, row["id"])
            case "charge", "refunds":
                return refunds.refunds_of(account, row)
        return None

    return part
