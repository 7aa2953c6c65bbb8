"""Refusals of the lab's cloud, worded as DigitalOcean words them: clients tell them apart by these words."""

from http import HTTPStatus


class ApiError(Exception):
    """An answer that isn't a success; becomes `{"id", "message"}` with `status`."""

    def __init__(self, status: int, error_id: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error_id = error_id
        self.message = message
        self.headers = headers or {}


def unprocessable(message: str) -> ApiError:
    """Return the refusal of a request that was understood."""
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "unprocessable_entity", message)


def bad_request(message: str) -> ApiError:
    """Return the refusal of a request that can't be read."""
    return ApiError(HTTPStatus.BAD_REQUEST, "bad_request", message)


def not_found() -> ApiError:
    """Return the answer for what doesn't exist."""
    return ApiError(HTTPStatus.NOT_FOUND, "not_found", "The resource you requested could not be found.")


def unauthorized() -> ApiError:
    """Return the refusal of a token."""
    return ApiError(HTTPStatus.UNAUTHORIZED, "unauthorized", "Unable to authenticate you.")


def too_many_requests(retry_after_seconds: int | None) -> ApiError:
    """Return the refusal of one request too many; only burst refusals say how long to wait."""
    headers = {} if retry_after_seconds is None else {"retry-after": str(retry_after_seconds)}
    return ApiError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", "API rate limit exceeded.", headers=headers)


def server_error(status: int = HTTPStatus.INTERNAL_SERVER_ERROR) -> ApiError:
    """Return a failure of the cloud itself."""
    return ApiError(status, "server_error", "Unexpected server-side error")


def no_capacity() -> ApiError:
    """Return the refusal of a Droplet that no host has room for."""
    return unprocessable("Size is not available in this region.")
