"""Run the gateway's agent: keep the kernel as wanted, stay in touch with the control plane, answer probes.

Six threads, each with one job; they share the Keeper, what they count, and nothing else that changes. The kernel goes
on by itself when the agent stops, whatever stops it.
"""

import logging
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from egress import __version__
from egress.wire import probe
from egress.wire.exposition import Page
from egress.wire.http import ControlPlaneError
from egress.wire.messages import Done, GatewayReport, GatewaySync, GatewaySyncRequest

from . import kernel, metrics
from .config import Config
from .connections import Connections
from .keeper import Keeper, Status
from .leaving import LEAVE_SECONDS, machine_goes_down
from .lookout import Lookout
from .metrics import Counts, serve_metrics
from .prober import answer_probes
from .service import notify
from .session import Backoff, Channel, Credential, explain
from .state import Store

log = logging.getLogger(__name__)

#: The control plane may hold a sync that long; the call gives up some time after.
SYNC_WAIT_SECONDS = 30
SYNC_MARGIN_SECONDS = 10
REPORT_SECONDS = 10.0
#: Look at the kernel that often even when it gave no notice of a change.
LOOK_SECONDS = 5.0
#: However fast others alter the kernel, look no more often than that.
LEAST_SECONDS_BETWEEN_LOOKS = 0.02
#: A control plane that answers at once with nothing new isn't asked more often than that.
LEAST_SECONDS_BETWEEN_SYNCS = 1.0


class Agent:
    """One gateway's agent. Raises OSError when its state directory can't be made."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._boot_id = kernel.sysctl("kernel/random/boot_id")
        store = Store(Path(config.state_dir))
        self._keeper = Keeper(store, config.vpc)
        self._credential = Credential(config, store, self._boot_id)
        self._worth_reporting = threading.Event()
        self._lookout = Lookout(self._keeper, self._worth_reporting.set)
        self._connections = Connections()
        self._leaving = False
        self._counts = Counts()

    def run(self) -> NoReturn:
        """Work until the process is ended. The ruleset is in place before anything else happens."""
        watch = kernel.Watch()
        if self._keeper.ensure().forwarding:
            self._worth_reporting.set()
        notify("READY=1")
        jobs = (self._sync, self._report, self._answer_probes, self._lookout.run, self._serve_metrics)
        for job in jobs:
            threading.Thread(target=job, name=job.__name__.strip("_"), daemon=True).start()
        while True:
            watch.wait(LOOK_SECONDS)
            self._look()
            notify("WATCHDOG=1")
            time.sleep(LEAST_SECONDS_BETWEEN_LOOKS)

    def take_leave(self) -> None:
        """Tell the nodes, if the whole machine goes down, and give them time to hear it; forwarding goes on."""
        self._leaving = machine_goes_down()
        if self._leaving:
            log.info("the machine goes down: telling the nodes")
            time.sleep(LEAVE_SECONDS)

    def _look(self) -> None:
        before = self._keeper.status
        self._tell_of(before, self._keeper.ensure())

    def _tell_of(self, before: Status, after: Status) -> None:
        if before != after:
            self._worth_reporting.set()

    def _answer_probes(self) -> NoReturn:
        answer_probes(self._keeper, self._flags, self._boot_id)

    def _flags(self) -> int:
        view = self._lookout.view
        return (
            (probe.FORWARDING if self._keeper.status.forwarding else 0)
            | (0 if view.link else probe.NO_LINK)
            | (0 if view.internet else probe.NO_INTERNET)
            | (probe.LEAVING if self._leaving else 0)
        )

    def _serve_metrics(self) -> NoReturn:
        serve_metrics(self._keeper, self._page)

    def _page(self, wish: GatewaySync) -> Page:
        revision = self._keeper.status.applied_revision
        return metrics.page_of(self._config.gateway_id, self._seen(), wish, revision, self._counts)

    def _sync(self) -> NoReturn:
        """Follow the list of clients: each request acknowledges what is in force."""
        channel = Channel(self._config, self._credential)
        backoff = Backoff()
        wait_seconds = 0
        while True:
            asked_at = time.monotonic()
            before = self._keeper.status
            try:
                wish = self._ask(channel, before.applied_revision, wait_seconds)
            except ControlPlaneError as error:
                wait_seconds = 0
                self._counts.failures["sync"] += 1
                self._pause(backoff, explain(error))
                continue
            after = self._keeper.adopt(wish)
            self._tell_of(before, after)
            if after.applied_revision != wish.revision:
                self._pause(backoff, f"revision {wish.revision} isn't in force: {after.detail}")
                continue
            backoff.reset()
            wait_seconds = SYNC_WAIT_SECONDS
            if after.applied_revision == before.applied_revision:
                time.sleep(max(0, asked_at + LEAST_SECONDS_BETWEEN_SYNCS - time.monotonic()))

    def _ask(self, channel: Channel, applied_revision: int, wait_seconds: int) -> GatewaySync:
        request = GatewaySyncRequest(applied_revision=applied_revision, wait_seconds=wait_seconds)
        timeout_seconds = wait_seconds + SYNC_MARGIN_SECONDS
        wish = channel.call("gateways/sync", request, GatewaySync, timeout_seconds=timeout_seconds)
        if wish.credential:
            self._credential.follow(wish.credential)
        return replace(wish, credential="")

    @staticmethod
    def _pause(backoff: Backoff, reason: str) -> None:
        seconds = backoff.next_seconds()
        log.warning("%s; trying again in %.1f s", reason, seconds)
        time.sleep(seconds)

    def _report(self) -> NoReturn:
        """Report on change and every `REPORT_SECONDS`; what fails is said again in the next report anyway."""
        channel = Channel(self._config, self._credential)
        backoff = Backoff()
        self._credential.wait()
        # A newborn has nothing to report before its first sync but that it isn't ready.
        self._worth_reporting.wait(REPORT_SECONDS)
        while True:
            self._worth_reporting.clear()
            try:
                self._send(channel)
                backoff.reset()
            except ControlPlaneError as error:
                self._counts.failures["report"] += 1
                self._pause(backoff, explain(error))
                continue
            self._worth_reporting.wait(REPORT_SECONDS)

    def _send(self, channel: Channel) -> None:
        channel.call("gateways/report", self._seen(), Done, timeout_seconds=10)

    def _seen(self) -> GatewayReport:
        status, view = self._keeper.status, self._lookout.view
        entries = self._connections.entries
        return GatewayReport(
            boot_id=self._boot_id,
            agent_version=__version__,
            forwarding=status.forwarding,
            detail=status.detail,
            flows=entries,
            bytes_out=kernel.bytes_sent(status.public_interface),
            link=view.link,
            internet=view.internet,
            targets=dict(view.targets),
            conntrack_entries=entries,
            conntrack_limit=self._connections.limit,
            snat_ports_worst=self._connections.worst,
        )


def die_with_any_thread() -> None:
    """End the whole agent when one of its threads fails unforeseen: started again, it is whole; half, it isn't."""

    def end(failure: threading.ExceptHookArgs) -> None:
        name = failure.thread.name if failure.thread else "a thread"
        log.critical("%s failed: ending, to be started again", name, exc_info=failure.exc_value)
        os._exit(1)

    threading.excepthook = end
