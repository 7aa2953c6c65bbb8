"""What an endpoint of `/v1` is made of, and what handlers share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billing.standin.account import Params
from billing.standin.errors import invalid
from billing.standin.store import Json

MAX_METADATA_KEYS = 50
MAX_METADATA_KEY = 40
MAX_METADATA_VALUE = 500
#: The empty value, by which a parameter is unset.
UNSET = ""
#: What every list takes.
PAGING = "limit starting_after ending_before"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the API.

    `name` is what faults are aimed at, such as `invoices.pay`. `params` names the type of its parameters in
    `stripe.params`. `handle(account, params, *ids)` does it, with the ids of the path, and returns the answer.
    `takes` are the parameters that it heeds: what Stripe knows and this doesn't is refused, never ignored.
    """

    method: str
    path: str
    name: str
    params: str
    handle: Callable[..., Json]
    takes: str = ""

    def refuse_beyond(self, params: Params) -> None:
        """Raise ApiError for parameters that Stripe takes and this stand-in doesn't."""
        beyond = sorted(set(params) - {"expand", *self.takes.split()})
        if beyond:
            raise invalid(f"This stand-in doesn't know what to do with {', '.join(beyond)}.", param=beyond[0])


def given(params: Params, *names: str) -> Json:
    """Return those of `params` that are given; what is to be unset is None."""
    return {name: None if params[name] == UNSET else params[name] for name in names if name in params}


def nothing(names: str, value: int | None = None) -> Json:
    """Return fields, named with spaces between, that say nothing: None or 0."""
    return dict.fromkeys(names.split(), value)


def metadata(params: Params, before: Json | None = None) -> dict[str, str]:
    """Return metadata as it is after a request: keys are added, an empty value removes one, "" removes all.

    Raises ApiError for too many keys, and keys or values that are too long.
    """
    wanted = params.get("metadata", {})
    if wanted == UNSET:
        return {}
    merged = {**((before or {}).get("metadata") or {}), **wanted}
    kept = {key: value for key, value in merged.items() if value != UNSET}
    for key, value in kept.items():
        if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            message = f"Metadata keys have at most {MAX_METADATA_KEY} characters, values at most {MAX_METADATA_VALUE}."
            raise invalid(message, param=f"metadata[{key[:MAX_METADATA_KEY]}]")
    if len(kept) > MAX_METADATA_KEYS:
        raise invalid(f"Metadata has at most {MAX_METADATA_KEYS} keys.", param="metadata")
    return kept


def whole(value: dict[str, Any] | None, *names: str) -> Json | None:
    """Return a hash with all of `names`, those that aren't given as None; None stays None."""
    return None if value is None else {name: value.get(name) or None for name in names}
