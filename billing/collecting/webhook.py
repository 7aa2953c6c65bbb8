"""The address that Stripe's events are sent to."""

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .errors import CollectingError
from .inbox import receive

#: Stripe's events are a few KiB; an invoice with all its lines may have many.
MAX_BYTES: Final = 512 * 1024


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Keep one event, and say so at once: its signature stands in for a session."""
    if len(request.body) > MAX_BYTES:
        return _said(f"An event has {MAX_BYTES} bytes at most.", 413)
    try:
        receive(request.body, request.headers.get("Stripe-Signature", ""))
    except CollectingError as error:
        return _said(str(error), error.http_status)
    return _said("Kept.", 200)


def _said(words: str, status: int) -> HttpResponse:
    return HttpResponse(f"{words}\n", status=status, content_type="text/plain")
