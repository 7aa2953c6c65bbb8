"""Lists and their pages, and what of an object is shown on demand (`expand`)."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from .account import Account, Params
from .errors import invalid
from .store import Json

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_EXPAND_DEPTH = 4
#: Where an id stands in an object, and what it is the id of. Ids elsewhere aren't expanded.
_KINDS: Mapping[str, str] = {
    "customer": "customer",
    "invoice": "invoice",
    "payment_intent": "payment_intent",
    "latest_charge": "charge",
    "charge": "charge",
    "payment_method": "payment_method",
    "default_payment_method": "payment_method",
    "setup_intent": "setup_intent",
    "refund": "refund",
}


def everything(_: Json) -> bool:
    """Keep every object of a list."""
    return True


def page_of(
    account: Account,
    kind: str,
    params: Params,
    url: str,
    *,
    customer: str | None = None,
    invoice: str | None = None,
    keep: Callable[[Json], bool] = everything,
) -> Json:
    """Return the page of a list that `params` ask for: `limit`, `starting_after`, `ending_before`, `created`."""
    limit = limit_of(params)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise invalid("You may only specify one of these parameters: ending_before, starting_after.")
    below = account.store.number_of(kind, after, param="starting_after") if after else None
    above = account.store.number_of(kind, before, param="ending_before") if before else None
    rows = account.store.rows(
        kind, customer=customer, invoice=invoice, above=above, below=below, oldest_first=before is not None
    )
    found = list(islice((row for row in rows if _created(row, params) and keep(row)), limit + 1))
    shown = found[:limit]
    return listed(shown[::-1] if before else shown, url, has_more=len(found) > limit)


def listed(rows: Iterable[Json], url: str, *, has_more: bool = False) -> Json:
    """Return Stripe's list object."""
    return {"object": "list", "data": list(rows), "has_more": has_more, "url": url}


def limit_of(params: Params) -> int:
    """Return how many rows a page holds. Raises ApiError outside 1 to 100."""
    limit = int(params.get("limit", DEFAULT_LIMIT))
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid(f"Invalid limit: must be from 1 to {MAX_LIMIT}, not {limit}.", param="limit")
    return limit


def _created(row: Json, params: Params) -> bool:
    wanted = params.get("created")
    if wanted is None:
        return True
    at = int(row["created"] if "created" in row else row["date"])  # an invoice item has a date
    if isinstance(wanted, int):
        return at == wanted
    tests = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    return all(tests[name](value) for name, value in wanted.items())


def expanded(account: Account, answer: Json, paths: Iterable[str], on_demand: Callable[[Json, str], Any]) -> Json:
    """Return `answer` with the objects that `paths` (such as `data.customer`) name in place of their ids.

    `on_demand(object, name)` gives what an object shows only on demand, or None. Raises ApiError for what can't be
    expanded.
    """
    for path in paths:
        steps = path.split(".")
        if len(steps) > MAX_EXPAND_DEPTH + (steps[0] == "data"):
            raise invalid(f"You cannot expand more than {MAX_EXPAND_DEPTH} levels of a property: {path[:100]}")
        answer = _expand(account, answer, steps, path, on_demand)
    return answer


def _expand(account: Account, at: Any, steps: list[str], path: str, on_demand: Callable[[Json, str], Any]) -> Any:
    if isinstance(at, list):
        return [_expand(account, item, steps, path, on_demand) for item in at]
    if not steps or at is None:
        return at
    name = steps[0]
    if not isinstance(at, dict) or (name not in at and on_demand(at, name) is None):
        raise invalid(f"This property cannot be expanded ({path[:100]}).", param="expand")
    value = at[name] if name in at else on_demand(at, name)
    if name not in _KINDS and not isinstance(value, dict | list):
        raise invalid(f"This property cannot be expanded ({path[:100]}).", param="expand")
    if isinstance(value, str):
        value = account.store.get(_KINDS[name], value)
    return {**at, name: _expand(account, value, steps[1:], path, on_demand)}
