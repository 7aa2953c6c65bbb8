"""Tell the control plane what this node sees."""

import asyncio
import logging
import re
from collections.abc import Mapping

from egress import __version__
from egress.wire.http import ControlPlaneError
from egress.wire.messages import Done, NodeReport, NodeSync

from .containers import Containers
from .judge import Judge
from .link import Backoff, Link
from .network import NetworkCheck, reported
from .pivots import PivotLog
from .state import State
from .steward import Steward
from .system import boot_id

log = logging.getLogger(__name__)
PERIOD_SECONDS = 10.0
#: Changes that come together are told together.
DEBOUNCE_SECONDS = 0.2
#: What the control plane takes of it.
MAX_DETAIL = 1_000
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Reporter:
    """Send a report after each change that matters, and every 10 s."""

    def __init__(
        self,
        state: State,
        link: Link,
        steward: Steward,
        network: NetworkCheck,
        containers: Containers,
        judge: Judge,
        pivots: PivotLog,
    ) -> None:
        self._state = state
        self._link = link
        self._steward = steward
        self._network = network
        self._containers = containers
        self._judge = judge
        self._pivots = pivots
        self._boot_id = boot_id()
        self._wake = asyncio.Event()
        self._told: object = None

    def changed(self) -> None:
        """Look soon whether there is something to tell."""
        self._wake.set()

    def present(self) -> NodeReport:
        """Return what a report would tell now."""
        return self._report()

    async def run(self) -> None:
        """Report until cancelled."""
        backoff = Backoff()
        due = 0.0
        trouble = ""
        loop = asyncio.get_running_loop()
        while True:
            credential = self._state.credential
            report = self._report()
            gist = _gist(report, self._state.table)
            if credential and (loop.time() >= due or gist != self._told or report.pivots):
                try:
                    await self._link.call("nodes/report", report, Done, token=credential.token)
                except ControlPlaneError as error:
                    if self._state.credential != credential:
                        continue  # replaced while this report was on its way
                    # One line an event: the same trouble again isn't one.
                    if str(error) != trouble:
                        log.warning("reports aren't delivered: %s", error)
                    trouble = str(error)
                    await asyncio.sleep(min(backoff.next(), PERIOD_SECONDS))
                    continue
                if trouble:
                    log.info("reports are delivered again")
                trouble = ""
                backoff.reset()
                self._told = gist
                if report.pivots:
                    self._pivots.acknowledge(report.pivots[-1].number)
                due = loop.time() + PERIOD_SECONDS
            await self._pause(max(due - loop.time(), 1.0))

    async def _pause(self, seconds: float) -> None:
        # Not wait_for, which in Python 3.11 can lose a cancellation.
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(DEBOUNCE_SECONDS)
        self._wake.clear()

    def _report(self) -> NodeReport:
        steward, network = self._steward, self._network
        status, detail = reported(steward.status, steward.detail, network.standing, network.reason)
        return NodeReport(
            boot_id=self._boot_id,
            agent_version=__version__,
            dataplane=status,
            detail=(detail or self._not_followed())[:MAX_DETAIL],
            containers=_fit(self._containers.counts()),
            in_doubt=_fit(self._containers.counts(network.in_doubt())),
            flows=dict(self._steward.observed.flows),
            gateways=self._judge.health(),
            reasons=self._judge.reasons(),
            pivots=self._pivots.untold(),
        )

    def _not_followed(self) -> str:
        """Say why an operator waits for this node in vain; "" when there is no reason."""
        trouble = self._state.trouble
        return f"The routes known last are in force, newer ones aren't followed: {trouble}" if trouble else ""


def _fit(counts: Mapping[str, int]) -> dict[str, int]:
    # podman's names aren't all fit to be namespaces; no app can be under such a one.
    return {name: count for name, count in counts.items() if _NAMESPACE.fullmatch(name)}


def _gist(report: NodeReport, table: NodeSync | None) -> object:
    """Return what is worth a report of its own: of flows, only whether there are any.

    A new table is, because a drain ends by what is seen after the table that began it.
    """
    busy = {gateway for gateway, flows in report.flows.items() if flows}
    revision = table.revision if table else 0
    containers = report.containers, report.in_doubt
    return revision, report.dataplane, report.detail, containers, report.gateways, report.reasons, busy
