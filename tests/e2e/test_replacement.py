"""A gateway's server is destroyed behind our back: another takes its place, with packets from its own address only.

mail-worker ── both nodes ── VPC ── gateway A (destroyed; another is made) and B ── observer 192.0.2.80
"""

from collections.abc import Iterator

import pytest

from tests.e2e.system import System, wait_for
from tests.e2e.test_toggle import APP

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.full, pytest.mark.timeout(600)]

DESTROY = "from egress.control.provider_access import provider; provider().delete('{}')"


@pytest.fixture
def addresses(system: System) -> Iterator[set[str]]:
    yield system.enable(APP)
    system.disable(APP)


def test_a_destroyed_server_is_replaced_and_nothing_leaves_from_a_foreign_address(
    system: System, addresses: set[str]
) -> None:
    mark = system.lab.mark()
    lost, kept = (each["ip"] for each in system.egress(APP)["dedicated_ips"])
    rows = {row["public_address"]: row["id"] for row in system.lab.status()["droplets"]}
    system.stack.manage("shell", "-c", DESTROY.format(rows[lost]))

    def replaced() -> set[str] | None:
        egress = system.egress(APP)
        now = {each["ip"] for each in egress["dedicated_ips"] if each["status"] == "ASSIGNED"}
        return now if len(now) == 2 and lost not in now else None

    now = wait_for("another server has taken its place", replaced, 300)
    assert kept in now
    wait_for("both addresses are used", lambda: system.seen_from_all_nodes(APP, "tcp", 4) == now, 120)
    assert system.sources(mark) <= addresses | now
    assert len({row["id"] for row in system.lab.status()["droplets"]}) == len(rows)
    told = system.stack.manage(
        "shell", "-c",
        "from egress.control.models import Event; print(*Event.objects.filter(subject='gateway.replaced')"
        ".values_list('old', 'new'))",
    )  # fmt: skip
    assert f"('{lost}', '{(now - {kept}).pop()}')" in told
