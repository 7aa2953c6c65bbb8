"""The node agent: everything wired together."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from egress.netkit.desired import Wish
from egress.wire.messages import Probing

from .cni_commands import Commands
from .cni_server import CniServer
from .config import Config
from .containers import Containers
from .counts import Counts
from .judge import Judge, Target, Verdict
from .link import Link
from .metrics import Exporter, View
from .network import NetworkCheck
from .pivots import PivotLog, choices
from .reports import Reporter
from .state import State
from .steward import Dataplane, Steward
from .sync import Sync
from .system import tell_service_manager
from .worker import Worker

log = logging.getLogger(__name__)
STOP_SECONDS = 5.0
#: After the disk failed the next try comes so soon.
RETRY_SECONDS = 1.0
#: How long after a start containers are held back for the control plane's answer, where systemd starts us.
ABREAST_SECONDS = 10.0


class Prober(Protocol):
    """Watch gateways."""

    judge: Judge

    def follow(self, targets: Mapping[str, Target], key: str, probing: Probing) -> None:
        """Probe these gateways, by id, and no others; `key` is the cluster's, in hex."""

    async def run(self) -> None:
        """Probe until cancelled."""


class Agent:
    """One node's agent.

    `open_dataplane` is called in the thread that the data plane then lives in; `prober` makes the prober from the
    function that it is to call on change, and from what an agent before knew of gateways; it counts in `counts`.
    """

    def __init__(
        self,
        config: Config,
        open_dataplane: Callable[[], Dataplane],
        prober: Callable[[Callable[[], None], Mapping[str, Verdict]], Prober],
        counts: Counts | None = None,
    ) -> None:
        self._config = config
        self._counts = counts or Counts()
        self._exporter = Exporter(config, self._view)
        #: What is in force, once there is something that follows it.
        self._sync: Sync | None = None
        # Whatever is wrong with the configuration shows here, before anything is touched.
        sync_link, report_link = Link(config, "sync"), Link(config, "report")
        self._state = State(Path(config.state_dir))
        self._containers = Containers(cache=Path(config.cni_cache_dir), journal=Path(config.run_dir, "containers"))
        self._steward = Steward(config, self._state, self._containers, open_dataplane, self._changed, self._applied)
        self._judged, self._unsaved = asyncio.Event(), asyncio.Event()
        self._prober = prober(self._judged.set, self._state.verdicts())
        self._pivots = PivotLog(Path(config.state_dir, "pivots.json"), self._unsaved.set)
        self._disk = Worker("notes")
        self._network = NetworkCheck(config, self._changed, self._containers.ids)
        self._reporter = Reporter(
            self._state, report_link, self._steward, self._network, self._containers, self._prober.judge, self._pivots
        )
        commands = Commands(self._containers, self._steward, self._network)
        self._server = CniServer(config.socket, commands.answer, self._steward.missed)
        self._sync_link = sync_link

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, which leave the kernel as it is. Raises OSError without a socket."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self._steward.look()
        self._steward.judge(self._prober.judge.judgement())
        # Containers that need no rules don't wait for the data plane to start.
        await self._server.start()
        await self._steward.try_refresh()
        self._sync = sync = Sync(
            self._config, self._state, self._sync_link, self._steward.apply, applied=self._steward.status == "ok"
        )
        self._say_ready()
        try:
            jobs = [self._steward.run(), sync.run(), self._reporter.run(), self._prober.run(), self._watch()]
            jobs.append(self._exporter.run())
            await _until(stop, *jobs, self._keep(), self._network.run(), _release(sync.abreast))
        finally:
            await self._server.close()
            await self._network.close()
            await self._steward.close()
            self._state.close()

    def _say_ready(self) -> None:
        table = self._state.table
        at = f"revision {table.revision}, {len(table.routes)} routes" if table else "no routes yet"
        log.info(
            "READY %s: %s, %d containers, data plane %s, socket %s",
            self._config.name,
            at,
            len(self._containers.pods),
            self._steward.status,
            self._config.socket,
        )

    def _changed(self) -> None:
        """Have the probes follow the gateways in use, and the change reported."""
        table = self._state.table
        if table is not None:
            self._prober.follow(self._steward.gateways_in_use(), table.probe_key, table.settings.probing)
        self._reporter.changed()

    def _applied(self, wish: Wish) -> None:
        """Take down what was brought about: who was buried, and where pairs' new connections go now."""
        judge = self._prober.judge
        judge.take_buried(wish.dead)
        before = self._pivots.number
        self._pivots.note(choices(wish, judge.reasons()))
        self._counts.pivots += self._pivots.number - before

    def _view(self) -> View:
        table = self._state.table
        return View(
            node=self._config.name,
            report=self._reporter.present(),
            table=table,
            applied_revision=self._sync.applied_revision if self._sync else 0,
            in_sync=table is not None and not self._state.trouble,
            outages=self._pivots.outages,
            counts=self._counts,
        )

    async def _watch(self) -> None:
        """Keep new connections off the gateways that are judged suspect, and have those of dead ones ended."""
        judge = self._prober.judge
        while True:
            await self._judged.wait()
            self._judged.clear()
            if judge.idle():
                judge.take_returned(await self._steward.returned())
            if self._steward.judge(judge.judgement()):
                await self._steward.try_refresh()
            self._unsaved.set()

    async def _keep(self) -> None:
        """Keep on disk what an agent that starts anew, or the control plane, must know, after it was acted upon."""
        saved: Mapping[str, Verdict] = {}
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            verdicts = self._prober.judge.verdicts()
            try:
                if verdicts != saved:
                    await self._disk.submit(lambda known=verdicts: self._state.save_verdicts(known))  # type: ignore[misc]
                    saved = verdicts
                await self._disk.submit(self._pivots.save)
            except OSError as error:
                log.warning("what is known of gateways can't be kept on disk: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._unsaved.set()
            self._reporter.changed()


async def _release(abreast: asyncio.Event) -> None:
    """Have the service manager start what waits for this service, which after a boot starts containers.

    A node may have been away while apps were enabled: it asks first. Without an answer what it knew last is in force.
    """
    try:
        async with asyncio.timeout(ABREAST_SECONDS):
            await abreast.wait()
    except TimeoutError:
        log.warning("no sync within %g s of the start: containers start by the routes known last", ABREAST_SECONDS)
    with suppress(OSError):
        tell_service_manager("READY=1")
    await asyncio.Event().wait()


async def _until(stop: asyncio.Event, *jobs: Coroutine[None, None, None]) -> None:
    """Run `jobs` until `stop`; one that fails ends them all with its error, for the service manager to start anew."""
    tasks = {asyncio.ensure_future(job) for job in (stop.wait(), *jobs)}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_SECONDS)
