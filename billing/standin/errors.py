"""Refusals of the stand-in, worded and coded as Stripe does: clients tell them apart by type, code and status."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """An answer that isn't a success; becomes `{"error": {…}}` with `status`.

    `kept`: what the request did before it failed stays done (a declined payment leaves its traces); otherwise it is
    rolled back.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str = "",
        param: str = "",
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        kept: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.code = code
        self.param = param
        self.more = more or {}
        self.headers = headers or {}
        self.kept = kept

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the answer's JSON; `request_id` is shown where Stripe links to its request log."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message, **self.more}
        if self.code:
            error |= {
                "code": self.code,
                "doc_url": f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}",
            }
        if self.param:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": error}


def invalid(message: str, *, code: str = "", param: str = "", kept: bool = False) -> ApiError:
    """Return the refusal of a request that was understood."""
    return ApiError(HTTPStatus.BAD_REQUEST, "invalid_request_error", message, code=code, param=param, kept=kept)


def missing(kind: str, object_id: str, *, param: str = "id") -> ApiError:
    """Return the answer for an object that doesn't exist: 404 at its address, else 400 for the parameter."""
    status = HTTPStatus.NOT_FOUND if param == "id" else HTTPStatus.BAD_REQUEST
    words = kind.rpartition(".")[2].replace("_", " ").replace("invoiceitem", "invoice item")
    message = f"No such {words}: '{object_id[:100]}'"
    return ApiError(status, "invalid_request_error", message, code="resource_missing", param=param)


def unknown_address(method: str, path: str) -> ApiError:
    """Return the answer for an address that the stand-in doesn't have."""
    message = (
        f"Unrecognized request URL ({method}: {path[:200]}). This stand-in speaks only what Sluicegate uses of Stripe."
    )
    return ApiError(HTTPStatus.NOT_FOUND, "invalid_request_error", message)


def unauthorized(message: str) -> ApiError:
    """Return the refusal of an API key."""
    headers = {"WWW-Authenticate": 'Bearer realm="Stripe"'}
    return ApiError(HTTPStatus.UNAUTHORIZED, "invalid_request_error", message, headers=headers)


def server_error(status: int = HTTPStatus.INTERNAL_SERVER_ERROR) -> ApiError:
    """Return a failure of the stand-in itself, injected on demand."""
    return ApiError(status, "api_error", "An unknown error occurred (injected into this stand-in).")


def too_many_requests() -> ApiError:
    """Return the refusal of one request too many."""
    message = "Request rate limit exceeded (injected into this stand-in)."
    return ApiError(HTTPStatus.TOO_MANY_REQUESTS, "invalid_request_error", message, code="rate_limit")


def full(rows: int) -> ApiError:
    """Return the refusal of one row too many."""
    message = f"This stand-in holds {rows} objects at most: start it on an empty folder."
    return ApiError(HTTPStatus.INSUFFICIENT_STORAGE, "api_error", message)
