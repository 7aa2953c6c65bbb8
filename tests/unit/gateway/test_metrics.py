"""A gateway's page: what it reports, whose it is, a fixed number of series."""

from egress.gateway.metrics import METRICS, Counts, page_of
from egress.wire.exposition import render
from egress.wire.messages import GatewayReport, GatewaySync
from tests.exposed import Exposed, needs_promtool, promtool

WISH = GatewaySync(
    revision=7,
    public_address="203.0.113.7",
    vpc="10.110.0.0/20",
    clients=("10.110.0.21", "10.110.0.22"),
    scrapers=("10.110.0.5",),
    scrape_digest="0" * 64,
    app="app-id",
    slot=1,
    probe_key="5e" * 32,
)
REPORT = GatewayReport(
    boot_id="boot",
    agent_version="1.2",
    forwarding=True,
    flows=3,
    bytes_out=2**40,
    link=True,
    internet=False,
    targets={"192.0.2.1": True, "192.0.2.2": False, "192.0.2.3": False},
    conntrack_entries=200_000,
    conntrack_limit=262_144,
    snat_ports_worst=60_000,
)


def shown(report: GatewayReport = REPORT, counts: Counts | None = None) -> Exposed:
    return Exposed(render(page_of("gateway-id", report, WISH, 7, counts or Counts())))


def test_it_shows_its_own_metrics_and_no_others() -> None:
    shown().is_exactly(METRICS)


def test_it_shows_what_it_reports() -> None:
    page = shown()
    assert page.value("sluicegate_gateway_info", gateway="gateway-id", app="app-id", slot="B", version="1.2") == 1
    assert page.value("sluicegate_gateway_forwarding") == 1
    assert page.value("sluicegate_gateway_link_up") == 1
    assert page.value("sluicegate_gateway_internet_up") == 0
    assert page.value("sluicegate_gateway_targets", answers="yes") == 1
    assert page.value("sluicegate_gateway_targets", answers="no") == 2
    assert page.value("sluicegate_gateway_applied_revision") == 7
    assert page.value("sluicegate_gateway_clients") == 2
    assert page.value("sluicegate_gateway_transmit_bytes_total") == 2**40
    assert page.value("sluicegate_gateway_conntrack_entries") == 200_000
    assert page.value("sluicegate_gateway_conntrack_entries_limit") == 262_144
    assert page.value("sluicegate_gateway_snat_ports_worst") == 60_000


def test_it_counts_calls_that_failed() -> None:
    counts = Counts()
    counts.failures["sync"] += 2
    assert shown(counts=counts).value("sluicegate_gateway_call_failures_total", call="sync") == 2
    assert shown().value("sluicegate_gateway_call_failures_total", call="report") == 0


def test_it_shows_no_address_and_no_key() -> None:
    text = shown().text
    assert not any(secret in text for secret in ("203.0.113", "10.110", "192.0.2", "5e5e", "0" * 64))


@needs_promtool
def test_promtool_takes_it() -> None:
    promtool("check", "metrics", text=shown().text)
