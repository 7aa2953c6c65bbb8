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

from .parsers import MAX_BYTES, BodyTooLarge

logger = logging.getLogger(__name__)

#: What the framework finds wrong, in words that say what to do; what isn't listed was raised with words of our own.
_WORDS: dict[type[exceptions.APIException], str] = {
    exceptions.NotAuthenticated: "No token came with the request. Send the header: Authorization: Token YOUR_TOKEN",
    exceptions.ParseError: 'The body isn\'t JSON. Send an object such as {"type": "DEDICATED_IP"}.',
    exceptions.UnsupportedMediaType: "The body's type isn't read here. Send JSON, with Content-Type: application/json",
    exceptions.NotAcceptable: "This API answers in JSON only. Send Accept: application/json, or leave Accept out.",
    BodyTooLarge: f"The body is larger than {MAX_BYTES} bytes. Send only what docs/openapi.yaml describes.",
}


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Answer any exception of a view; what nobody foresaw is logged and told without its inside."""
    if isinstance(error, EgressError):
        set_rollback()
        answer = error_response(error.http_status, error.code, str(error))
        if after := getattr(error, "retry_after_seconds", 0):
            answer.headers["Retry-After"] = str(after)
        return answer
    response = exception_handler(error, context)
    if response is None:
        logger.error("API request failed: %s", _described(context), exc_info=error)
        set_rollback()
        return error_response(500, "internal", "Something broke on our side. It has been logged; try again later.")
    code, message, details = _parts(error, context)
    response.data = {"code": code, "message": message, "details": details}
    return response


def error_response(status: int, code: str, message: str) -> Response:
    """Return an error without details."""
    return Response({"code": code, "message": message, "details": {}}, status=status)


def _parts(error: Exception, context: dict[str, Any]) -> tuple[str, str, Any]:
    if isinstance(error, Http404):
        return "not_found", "There is nothing at this address.", {}
    if isinstance(error, PermissionDenied):
        return "permission_denied", "You may not do that.", {}
    if isinstance(error, exceptions.ValidationError):
        return "invalid", f"{_first(error.detail)} Nothing was changed.", error.detail
    assert isinstance(error, exceptions.APIException)
    codes = error.get_codes()
    return codes if isinstance(codes, str) else error.default_code, _message(error, context), {}


def _message(error: exceptions.APIException, context: dict[str, Any]) -> str:
    if isinstance(error, exceptions.Throttled):
        # The framework's types don't know `wait`.
        return f"Too many requests with this token. Try again in {getattr(error, 'wait', None) or 1} s."
    if isinstance(error, exceptions.MethodNotAllowed):
        allowed = ", ".join(sorted({*context["view"].allowed_methods} - {"OPTIONS"}))
        return f"{context['request'].method} doesn't work at this address. It takes {allowed}."
    return _WORDS.get(type(error), str(error.detail))


def _first(detail: Any) -> str:
    """Return the first of a validation error's sentences, which come as lists below the fields' names."""
    while not isinstance(detail, str):
        detail = next(iter(detail.values() if isinstance(detail, dict) else detail))
    return detail


def _described(context: dict[str, Any]) -> str:
    request = context.get("request")
    return f"{request.method} {request.path}" if isinstance(request, Request) else "unknown request"
