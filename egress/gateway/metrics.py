"""The gateway's metrics for Prometheus: what it reports, and what its agent counts. docs/metrics.md lists them."""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from egress.wire import scrape
from egress.wire.exposition import PLAIN, Metric, Page, render
from egress.wire.messages import GatewayReport, GatewaySync

from .keeper import Keeper

log = logging.getLogger(__name__)

INFO = Metric(
    "sluicegate_gateway_info",
    "gauge",
    "1; which gateway this is, of which app (its id) and slot, and its agent's version.",
    ("gateway", "app", "slot", "version"),
)
FORWARDING = Metric("sluicegate_gateway_forwarding", "gauge", "1 while it forwards as it should, else 0.")
LINK = Metric("sluicegate_gateway_link_up", "gauge", "1 while its public link is up and the next hop answers, else 0.")
INTERNET = Metric("sluicegate_gateway_internet_up", "gauge", "1 while a target in the internet answers, else 0.")
TARGETS = Metric("sluicegate_gateway_targets", "gauge", "Targets in the internet, by their last answer.", ("answers",))
REVISION = Metric("sluicegate_gateway_applied_revision", "gauge", "The revision of the list of nodes in force.")
CLIENTS = Metric("sluicegate_gateway_clients", "gauge", "Nodes that it forwards for.")
SENT = Metric("sluicegate_gateway_transmit_bytes_total", "counter", "Bytes sent to the internet.")
ENTRIES = Metric("sluicegate_gateway_conntrack_entries", "gauge", "Connections in the kernel's table.")
LIMIT = Metric("sluicegate_gateway_conntrack_entries_limit", "gauge", "Connections that the kernel's table can hold.")
PORTS = Metric(
    "sluicegate_gateway_snat_ports_worst",
    "gauge",
    "Source ports in use towards the one destination that takes most, of 64,512.",
)
FAILURES = Metric(
    "sluicegate_gateway_call_failures_total", "counter", "Calls to the control plane that failed.", ("call",)
)

METRICS = (
    INFO, FORWARDING, LINK, INTERNET, TARGETS, REVISION, CLIENTS, SENT, ENTRIES, LIMIT, PORTS, FAILURES,
)  # fmt: skip

_LOOK_AGAIN_SECONDS = 1.0


@dataclass(slots=True)
class Counts:
    """What the agent counts from its start on; each number is written by one thread only."""

    failures: dict[str, int] = field(default_factory=lambda: {"sync": 0, "report": 0})


def page_of(gateway_id: str, report: GatewayReport, wish: GatewaySync, revision: int, counts: Counts) -> Page:
    """Return the metrics of one gateway: a fixed number of series."""
    answering = sum(report.targets.values())
    return {
        INFO: {(gateway_id, wish.app, "AB"[wish.slot], report.agent_version): 1},
        FORWARDING: {PLAIN: int(report.forwarding)},
        LINK: {PLAIN: int(report.link)},
        INTERNET: {PLAIN: int(report.internet)},
        TARGETS: {("yes",): answering, ("no",): len(report.targets) - answering},
        REVISION: {PLAIN: revision},
        CLIENTS: {PLAIN: len(wish.clients)},
        SENT: {PLAIN: report.bytes_out},
        ENTRIES: {PLAIN: report.conntrack_entries},
        LIMIT: {PLAIN: report.conntrack_limit},
        PORTS: {PLAIN: report.snat_ports_worst},
        FAILURES: {(call,): count for call, count in counts.failures.items()},
    }


def serve_metrics(keeper: Keeper, page: Callable[[GatewaySync], Page]) -> NoReturn:
    """Show pages on the private address, while the control plane names who may ask and the token that they show.

    The ruleset lets in those only: see `ruleset.open_for`.
    """
    trouble = ""
    while True:
        address, wish = keeper.status.private_address, keeper.wish
        if wish is None or not wish.scrape_digest or not address:
            time.sleep(_LOOK_AGAIN_SECONDS)
            continue
        try:
            with socket.create_server((address, scrape.PORT), backlog=scrape.BACKLOG) as listener:
                listener.settimeout(_LOOK_AGAIN_SECONDS)
                trouble = ""
                _serve(listener, address, wish.scrape_digest, keeper, page)
        except OSError as error:
            if str(error) != trouble:
                trouble = str(error)
                log.warning("no metrics on %s:%d: %s", address, scrape.PORT, trouble)
            time.sleep(_LOOK_AGAIN_SECONDS)


def _serve(
    listener: socket.socket, address: str, digest: str, keeper: Keeper, page: Callable[[GatewaySync], Page]
) -> None:
    while (wish := keeper.wish) and (keeper.status.private_address, wish.scrape_digest) == (address, digest):
        scrape.serve_one(listener, partial(_text, page, wish), digest)


def _text(page: Callable[[GatewaySync], Page], wish: GatewaySync) -> str:
    return render(page(wish))
