"""Worker nodes that are no machines: each joins, keeps the cluster's routes and reports."""

import asyncio
from contextlib import closing, suppress
from http import HTTPStatus

from egress.wire.messages import Done, NodeJoin, NodeJoined, NodeReport, NodeSync, NodeSyncRequest, Route
from tests.wirelevel import Broken, Line, Refused

PAUSE_SECONDS = 0.3
REPORT_SECONDS = 1
POLL_SECONDS = 20


class PlayedNode:
    """One node. `routes` is what it would have in its kernel."""

    def __init__(self, name: str, private_address: str, where: tuple[str, int]) -> None:
        self.name = name
        self._private_address = private_address
        self._where = where
        self._token = ""
        self.epoch = ""
        self.revision = 0
        self.routes: dict[str, Route] = {}

    async def run(self, join_token: str) -> None:
        """Join, then follow and report until cancelled."""
        join = NodeJoin(name=self.name, private_address=self._private_address, boot_id="boot", agent_version="1")
        with closing(Line(*self._where)) as line:
            while not self._token:
                try:
                    self._token = (await line.call("nodes/join", join_token, join, NodeJoined)).token
                except Broken:
                    await asyncio.sleep(PAUSE_SECONDS)
                except Refused as error:
                    if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                        raise
                    # Its database is away.
                    await asyncio.sleep(PAUSE_SECONDS)
        with closing(Line(*self._where)) as poll, closing(Line(*self._where)) as report:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._follow(poll))
                both.create_task(self._report(report))

    async def _follow(self, line: Line) -> None:
        while True:
            asked = NodeSyncRequest(epoch=self.epoch, applied_revision=self.revision, wait_seconds=POLL_SECONDS)
            try:
                self._apply(await line.call("nodes/sync", self._token, asked, NodeSync, wait_seconds=POLL_SECONDS))
            except (Refused, Broken):
                await asyncio.sleep(PAUSE_SECONDS)

    def _apply(self, sync: NodeSync) -> None:
        if sync.full:
            self.routes.clear()
        for route in sync.routes:
            self.routes[route.namespace] = route
        for namespace in sync.removed:
            self.routes.pop(namespace, None)
        self.epoch, self.revision = sync.epoch, sync.revision

    async def _report(self, line: Line) -> None:
        report = NodeReport(boot_id="boot", agent_version="1", dataplane="ok")
        while True:
            with suppress(Refused, Broken):
                await line.call("nodes/report", self._token, report, Done)
            await asyncio.sleep(REPORT_SECONDS)
