"""Idempotency keys: the answer to a request is kept for a day, and given again to the same request."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .errors import ApiError
from .store import Store

KEPT_SECONDS = 86_400
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it is kept: status, body, and the id of the request that it was given to first."""

    status: int
    body: dict[str, Any]
    request_id: str


def fingerprint(params: Mapping[str, Any]) -> str:
    """Return what two requests with the same parameters have in common, in whatever order they were given."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


class Answers:
    """The answers kept in the store, and the keys of requests that are being worked on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy: set[str] = set()

    def begin(self, key: str) -> None:
        """Mark a key as being worked on. Raises ApiError when it is already, or too long."""
        if len(key) > MAX_KEY:
            message = f"Idempotency keys have at most {MAX_KEY} characters, this one {len(key)}."
            raise ApiError(HTTPStatus.BAD_REQUEST, "idempotency_error", message)
        if key in self._busy:
            message = (
                f"There is currently another in-progress request using this Idempotency Key: {key}. "
                "Please try again later."
            )
            raise ApiError(HTTPStatus.CONFLICT, "idempotency_error", message, code="idempotency_key_in_use")
        self._busy.add(key)

    def end(self, key: str) -> None:
        """Mark a key as worked on no more."""
        self._busy.discard(key)

    def find(self, key: str, address: str, print_: str, now: int) -> Answer | None:
        """Return the answer kept under a key, if it isn't too old.

        Raises ApiError when it belongs to another address, or other parameters.
        """
        found = self._store.sql.execute(
            "SELECT address, fingerprint, status, body, request_id FROM answers WHERE key = ? AND made_at > ?",
            (key, now - KEPT_SECONDS),
        ).fetchone()
        if found is None:
            return None
        before, known, status, body, request_id = found
        if before != address:
            message = (
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{address}' vs '{before}'). Try using a key other than '{key}' if you meant to execute a "
                "different request."
            )
            raise ApiError(HTTPStatus.BAD_REQUEST, "idempotency_error", message)
        if known != print_:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise ApiError(HTTPStatus.BAD_REQUEST, "idempotency_error", message)
        return Answer(status, json.loads(body), request_id)

    def keep(self, key: str, address: str, print_: str, now: int, answer: Answer) -> None:
        """Keep an answer, in the transaction of what it tells; drop those that are too old."""
        self._store.sql.execute("DELETE FROM answers WHERE made_at <= ?", (now - KEPT_SECONDS,))
        self._store.sql.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, address, print_, now, answer.status, answer.request_id, json.dumps(answer.body)),
        )
