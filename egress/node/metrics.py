"""The node agent's metrics: what it reports and what it counts, for Prometheus. docs/metrics.md lists them."""

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from egress import __version__
from egress.wire import scrape
from egress.wire.exposition import PLAIN, Metric, Page, Values, render
from egress.wire.messages import NodeReport, NodeSync, Reason

from .config import Config, ConfigError
from .counts import Counts

log = logging.getLogger(__name__)

INFO = Metric("sluicegate_node_info", "gauge", "1; which node this is, and its agent's version.", ("node", "version"))
DATAPLANE = Metric("sluicegate_node_dataplane", "gauge", "1 for the data plane's present state, else 0.", ("state",))
IN_SYNC = Metric("sluicegate_node_in_sync", "gauge", "1 while the control plane's routes are followed, else 0.")
REVISION = Metric("sluicegate_node_applied_revision", "gauge", "The route revision in force on this node.")
ROUTES = Metric("sluicegate_node_routes", "gauge", "Namespaces with dedicated egress in the node's route table.")
CONTAINERS = Metric("sluicegate_node_containers", "gauge", "Containers on this node.")
IN_DOUBT = Metric(
    "sluicegate_node_containers_in_doubt", "gauge", "Containers that came while the network was unsupported."
)
GATEWAYS = Metric("sluicegate_node_gateways", "gauge", "Gateways in use here, by what the probes say.", ("health",))
UNUSABLE = Metric(
    "sluicegate_node_gateways_unusable", "gauge", "Gateways kept out of use here, by the reason.", ("reason",)
)
OUTAGES = Metric(
    "sluicegate_node_pairs_without_gateway", "gauge", "Pairs of containers here of which no gateway can be used."
)
FLOWS = Metric("sluicegate_node_gateway_connections", "gauge", "Connections over each gateway.", ("gateway",))
PROBES = Metric("sluicegate_node_probes_total", "counter", "Probes sent to each gateway.", ("gateway",))
LOST = Metric("sluicegate_node_probes_lost_total", "counter", "Probes that got no answer in time.", ("gateway",))
ROUND_TRIP = Metric(
    "sluicegate_node_probe_round_trip_seconds", "histogram", "From a probe to its answer, over all gateways."
)
LATE = Metric("sluicegate_node_probe_rounds_late_total", "counter", "Rounds of probes that came too late to judge by.")
PIVOTS = Metric(
    "sluicegate_node_pivots_total", "counter", "How often a pair's new connections took another way on this node."
)

METRICS = (
    INFO, DATAPLANE, IN_SYNC, REVISION, ROUTES, CONTAINERS, IN_DOUBT, GATEWAYS, UNUSABLE, OUTAGES, FLOWS, PROBES, LOST,
    ROUND_TRIP, LATE, PIVOTS,
)  # fmt: skip

_STATES = ("ok", "starting", "unsupported", "failed")
_HEALTH = ("healthy", "unhealthy", "unknown")
_REASONS = get_args(Reason)
_LOOK_UP_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
#: How long the event loop may take to make a page.
_PAGE_SECONDS = 3.0
_LEAST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a page is made of."""

    node: str
    report: NodeReport
    table: NodeSync | None
    applied_revision: int
    in_sync: bool
    #: Pairs of containers here that have no gateway.
    outages: int
    counts: Counts


def page_of(view: View) -> Page:
    """Return the metrics of `view`: never more than some series for each gateway in use here."""
    report, counts = view.report, view.counts
    health: Counter[str] = Counter(report.gateways.values())
    return {
        INFO: {(view.node, __version__): 1},
        DATAPLANE: {(state,): int(state == report.dataplane) for state in _STATES},
        IN_SYNC: {PLAIN: int(view.in_sync)},
        REVISION: {PLAIN: view.applied_revision},
        ROUTES: {PLAIN: len(view.table.routes) if view.table else 0},
        CONTAINERS: {PLAIN: sum(report.containers.values())},
        IN_DOUBT: {PLAIN: sum(report.in_doubt.values())},
        GATEWAYS: {(each,): health[each] for each in _HEALTH},
        UNUSABLE: _by(Counter(report.reasons.values()), _REASONS),
        OUTAGES: {PLAIN: view.outages},
        FLOWS: {(gateway,): flows for gateway, flows in report.flows.items()},
        PROBES: {(gateway,): count for gateway, count in counts.probes_sent.items()},
        LOST: {(gateway,): count for gateway, count in counts.probes_lost.items()},
        ROUND_TRIP: {PLAIN: counts.round_trip.distribution()},
        LATE: {PLAIN: counts.late_rounds},
        PIVOTS: {PLAIN: counts.pivots},
    }


def _by(counted: Counter[Any], keys: tuple[str, ...]) -> Values:
    return {(key,): counted[key] for key in keys}


class Exporter:
    """Shows pages on the configured address while `run` runs. Raises ConfigError for a token that can't be used."""

    def __init__(self, config: Config, look: Callable[[], View]) -> None:
        self._address = (config.metrics_address, config.metrics_port)
        self._interface = "" if config.metrics_on_loopback else config.private_interface
        self._digest = _digest(config.metrics_token_file)
        self._look = look

    async def run(self) -> None:
        """Serve until cancelled; without a port, just wait."""
        if not self._address[1]:
            await asyncio.Event().wait()
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def page() -> str:
            return asyncio.run_coroutine_threadsafe(self._page(), loop).result(_PAGE_SECONDS)

        # A thread, so that no scraper is waited for in the event loop; a daemon, so that its end waits for none either.
        threading.Thread(target=self._serve, args=(page, stop), name="metrics", daemon=True).start()
        try:
            await asyncio.Event().wait()
        finally:
            stop.set()

    async def _page(self) -> str:
        return render(page_of(self._look()))

    def _serve(self, page: Callable[[], str], stop: threading.Event) -> None:
        trouble = ""
        while not stop.is_set():
            try:
                with self._listener() as listener:
                    log.info("metrics at http://%s:%d/metrics", *self._address)
                    trouble = ""
                    while not stop.is_set():
                        scrape.serve_one(listener, page, self._digest)
            except OSError as error:
                # One line an event; and no metrics are no reason for a node to stop.
                if str(error) != trouble:
                    trouble = str(error)
                    log.warning("no metrics at %s:%d: %s", *self._address, trouble)
                stop.wait(_AGAIN_SECONDS)

    def _listener(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._interface:
                # Pods reach the node's address by their own interfaces, and so not this listener.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
            listener.bind(self._address)
            listener.listen(scrape.BACKLOG)
            listener.settimeout(_LOOK_UP_SECONDS)
        except BaseException:
            listener.close()
            raise
        return listener


def _digest(path: str | None) -> str:
    if path is None:
        return ""
    try:
        token = Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"metrics_token_file {path} can't be read: {error}") from None
    if len(token) < _LEAST_TOKEN:
        raise ConfigError(f"metrics_token_file {path} holds fewer than {_LEAST_TOKEN} characters: put a token there")
    return scrape.token_digest(token)
