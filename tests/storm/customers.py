"""A customer's program that switches many apps at once over the REST API, and repeats a wish until it is granted."""

import asyncio
import json
from collections import Counter
from contextlib import closing
from http import HTTPStatus
from typing import Any

from tests.wirelevel import Broken, Line

PAUSE_SECONDS = 1


class Customer:
    """One program with its token."""

    def __init__(self, where: tuple[str, int], token: str) -> None:
        self._where = where
        self._token = token
        self.answers: Counter[str] = Counter()

    async def wish(self, app_ids: list[str], kind: str) -> None:
        """Put every app on this type of egress, all at once; returns when each wish was accepted."""
        await asyncio.gather(*(self._put(app_id, kind) for app_id in app_ids))

    async def _put(self, app_id: str, kind: str) -> None:
        await self._until_granted("PUT", f"/api/v1/apps/{app_id}/egress", json.dumps({"type": kind}).encode())

    async def states(self) -> dict[str, dict[str, Any]]:
        """Return every app's egress by the app's id."""
        answer = await self._until_granted("GET", "/api/v1/apps?page_size=200")
        return {app["id"]: app["egress"] for app in json.loads(answer)["results"]}

    async def _until_granted(self, method: str, path: str, body: bytes = b"") -> bytes:
        with closing(Line(*self._where, scheme="Token")) as line:
            while True:
                try:
                    status, answer = await line.request(method, path, self._token, body)
                except Broken:
                    self.answers["broken"] += 1
                else:
                    self.answers[f"{method} {status}"] += 1
                    if status == HTTPStatus.OK:
                        return answer
                    # A server in trouble may be asked again; anything else would be a refusal without reason.
                    assert status >= HTTPStatus.INTERNAL_SERVER_ERROR, f"{method} {path}: {status} {answer.decode()}"
                await asyncio.sleep(PAUSE_SECONDS)

    async def repeat_until(self, app_ids: list[str], kind: str, state: str) -> dict[str, dict[str, Any]]:
        """Wait until every app is in `state`, wishing again for those that need attention; returns all egresses."""
        while True:
            egress = await self.states()
            failed = [app_id for app_id in app_ids if egress[app_id]["state"] == "error"]
            self.answers["wished again"] += len(failed)
            await self.wish(failed, kind)
            if all(egress[app_id]["state"] == state for app_id in app_ids):
                return egress
            await asyncio.sleep(PAUSE_SECONDS)
