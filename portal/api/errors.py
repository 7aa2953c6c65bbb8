"""One shape for every error: `{"code", "message", "details"}`."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from egress.control.errors import EgressError

logger = logging.getLogger(__name__)


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Answer any exception of a view; what nobody foresaw is logged and told without its inside."""
    if isinstance(error, EgressError):
        set_rollback()
        return error_response(error.http_status, error.code, str(error))
    response = exception_handler(error, context)
    if response is None:
        logger.error("API request failed: %s", _described(context), exc_info=error)
        set_rollback()
        return error_response(500, "internal", "Something broke on our side. It has been logged; try again later.")
    code, message, details = _parts(error)
    response.data = {"code": code, "message": message, "details": details}
    return response


def error_response(status: int, code: str, message: str) -> Response:
    """Return an error without details."""
    return Response({"code": code, "message": message, "details": {}}, status=status)


def _parts(error: Exception) -> tuple[str, str, Any]:
    if isinstance(error, Http404):
        return "not_found", "There is nothing at this address.", {}
    if isinstance(error, PermissionDenied):
        return "permission_denied", "You may not do that.", {}
    if isinstance(error, exceptions.ValidationError):
        return "invalid", "The request doesn't hold what it should; see details.", error.detail
    if isinstance(error, exceptions.Throttled):
        return "throttled", "Too many requests with this token; wait as long as Retry-After says.", {}
    assert isinstance(error, exceptions.APIException)
    codes = error.get_codes()
    return codes if isinstance(codes, str) else error.default_code, str(error.detail), {}


def _described(context: dict[str, Any]) -> str:
    request = context.get("request")
    return f"{request.method} {request.path}" if isinstance(request, Request) else "unknown request"
