"""What every request to `/v1` passes: key, version, parameters, idempotency, faults, one transaction; in this order."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from . import checks, form, listing, shown
from .account import API_VERSION, Account, Origin
from .answers import Answer, Answers, fingerprint
from .errors import ApiError, invalid, server_error, too_many_requests, unauthorized, unknown_address
from .faults import Fault, Faults
from .store import new_id
from .things.endpoint import Endpoint

MAX_BODY_BYTES = 512 * 1024
BODY_TIMEOUT_SECONDS = 30
HANG_SECONDS = 600
DROP_TIMEOUT_SECONDS = 10
KEY_PREFIX = "sk_test_"
REFUSED_CODE = "customer_tax_location_invalid"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    endpoint: Endpoint
    ids: tuple[str, ...]
    params: Mapping[str, Any]
    address: str
    request_id: str
    key: str


class Gate:
    """Turn requests into calls of endpoints, and what these return into answers."""

    def __init__(self, account: Account, answers: Answers, faults: Faults, api_key: str) -> None:
        """Let in requests with `api_key`; with "", those with any test key."""
        self._account = account
        self._answers = answers
        self._faults = faults
        self._api_key = api_key

    async def pass_through(self, endpoint: Endpoint | None, request: Request) -> Response:
        """Answer a request for `endpoint`; None: there is no such address."""
        request_id = new_id("req")
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
        try:
            if self._faults.away:
                await break_connection(request)
            self.admit(request)
            text = (await body_of(request)).decode("utf-8", "replace")
            if endpoint is None:
                raise unknown_address(request.method, request.url.path)
            call = _call(endpoint, request, text, request_id)
            if call.key:
                headers["Idempotency-Key"] = call.key
            answer, replayed = await self._answer(call, request)
            if replayed:
                headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.request_id}
            return JSONResponse(answer.body, answer.status, headers)
        except ApiError as error:
            return JSONResponse(error.body(request_id), error.status, {**headers, **error.headers})
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)

    def admit(self, request: Request) -> None:
        """Raise ApiError unless a request bears the API key."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise unauthorized("You did not provide an API key: send it as a bearer in the Authorization header.")
        if not given.startswith(KEY_PREFIX) or not hmac.compare_digest(given, self._api_key or given):
            raise unauthorized(f"Invalid API Key provided: {given[: len(KEY_PREFIX)]}***.")

    async def _answer(self, call: Call, request: Request) -> tuple[Answer, bool]:
        if not call.key:
            return await self._with_faults(call, request), False
        self._answers.begin(call.key)
        try:
            print_ = fingerprint(call.params)
            known = self._answers.find(call.key, call.address, print_, self._account.now())
            if known is not None:
                return known, True
            return await self._with_faults(call, request), False
        finally:
            self._answers.end(call.key)

    async def _with_faults(self, call: Call, request: Request) -> Answer:
        fault = self._faults.take(call.endpoint.name, self._about(call))
        if fault is None:
            return self._do(call, None)
        logger.info("fault %s strikes %s", fault.kind, call.endpoint.name)
        if fault.kind == "slow":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._faults.calm.wait(), fault.delay_seconds)
        await _before(fault, request)
        answer = self._do(call, fault)
        if fault.kind == "hang":
            await _hang(request)
        if fault.kind == "dropped":
            await break_connection(request)
        return answer

    def _about(self, call: Call) -> set[str]:
        """Return the customers that a call concerns."""
        named = {str(call.params.get("customer", "")), *call.ids}
        rows = (self._account.store.find(object_id) for object_id in call.ids)
        return named | {str(row.get("customer")) for row in rows if row}

    def _do(self, call: Call, fault: Fault | None) -> Answer:
        """Do it, and keep the answer, in one transaction."""
        account = self._account
        account.origin = Origin(call.request_id, call.key or None)
        try:
            with account.store.transaction():
                answer = self._tried(call)
                failed = fault is not None and fault.kind == "failed"
                if fault is not None and failed:
                    error = server_error(fault.status)
                    answer = Answer(error.status, error.body(call.request_id), call.request_id)
                if call.key and not (failed and fault is not None and fault.forgotten):
                    print_ = fingerprint(call.params)
                    self._answers.keep(call.key, call.address, print_, account.now(), answer)
        finally:
            account.origin = Origin()
        account.deliveries.wake()
        return answer

    def _tried(self, call: Call) -> Answer:
        try:
            with self._account.store.attempt():
                made = shown.shown_all(self._account, call.endpoint.handle(self._account, call.params, *call.ids))
                body = listing.expanded(
                    self._account, made, call.params.get("expand", []), shown.on_demand(self._account)
                )
        except ApiError as error:
            return Answer(error.status, error.body(call.request_id), call.request_id)
        return Answer(HTTPStatus.OK, body, call.request_id)


def _call(endpoint: Endpoint, request: Request, text: str, request_id: str) -> Call:
    """Understand a request. Raises ApiError; Stripe keeps no answer for what isn't understood."""
    version = request.headers.get("stripe-version", API_VERSION)
    if version != API_VERSION:
        raise invalid(f"Invalid Stripe API version: {version[:100]}. This stand-in speaks {API_VERSION} only.")
    in_body = request.method == "POST"
    if (
        in_body
        and text
        and request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded"
    ):
        raise invalid("Invalid request: send parameters as application/x-www-form-urlencoded.")
    params = checks.check(endpoint.params, form.decode(text if in_body else request.url.query))
    endpoint.refuse_beyond(params)
    key = request.headers.get("idempotency-key", "") if in_body else ""
    return Call(endpoint, tuple(request.path_params.values()), params, request.url.path, request_id, key)


async def body_of(request: Request) -> bytes:
    """Return a request's body. Raises ApiError when it is too large, or doesn't come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    message = f"The request body is larger than {MAX_BODY_BYTES} bytes."
                    raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid_request_error", message)
    except TimeoutError:
        message = "The request body didn't arrive in time."
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, "invalid_request_error", message) from None
    return bytes(body)


async def _before(fault: Fault, request: Request) -> None:
    match fault.kind:
        case "hang_before":
            await _hang(request)
            raise ClientDisconnect
        case "failed_before":
            raise server_error(fault.status)
        case "dropped_before":
            await break_connection(request)
        case "rate_limited":
            raise too_many_requests()
        case "refused":
            message = fault.message or "This customer is refused (injected into this stand-in)."
            raise invalid(message, code=fault.code or REFUSED_CODE)


async def _hang(request: Request) -> None:
    """Wait until the client has enough."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_SECONDS):
            while (await request.receive())["type"] != "http.disconnect":
                pass


async def break_connection(request: Request) -> None:
    """Cut the connection. Raises ClientDisconnect."""
    transport = request.scope.get("state", {}).get("transport")
    if transport is None:
        raise RuntimeError("this fault needs a server made by server_config")
    transport.abort()
    async with asyncio.timeout(DROP_TIMEOUT_SECONDS):
        while (await request.receive())["type"] != "http.disconnect":
            pass
    raise ClientDisconnect
