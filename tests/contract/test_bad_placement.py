"""A pair that the cloud puts on one host, seen and set right through pydo and DigitalOcean's API over TLS."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from egress.control import provider_access
from egress.control.models import Placement
from egress.control.reconcile.loop import reconcile
from egress.control.selectors import egress_view
from egress.control.services import egress_enable
from tests.contract.cloudlab import TOKEN, CloudLab
from tests.factories import make_app, make_cluster, make_team, make_user

PATIENCE_ROUNDS = 30


@pytest.fixture
def cloud(lab: CloudLab, settings: Settings) -> Iterator[CloudLab]:
    settings.DIGITALOCEAN_TOKEN = TOKEN
    settings.DIGITALOCEAN_API_URL = lab.url
    settings.DIGITALOCEAN_CA_FILE = str(lab.certificates.ca_file)
    provider_access.digitalocean.cache_clear()
    yield lab
    provider_access.digitalocean().close()
    provider_access.digitalocean.cache_clear()


def test_it_is_moved_apart_before_its_addresses_are_shown(db: None, cloud: CloudLab) -> None:
    user, cluster = make_user(), make_cluster(region="nyc3", vpc_id=cloud.state.layout.vpc_uuid)
    app = make_app(make_team(user), cluster)
    egress_enable(app=app, actor=user)
    # The first creation lands beside nobody; the second, and its first replacement, beside the one before.
    cloud.faults.inject("same_host", count=3)
    seen = []
    for _ in range(PATIENCE_ROUNDS):
        reconcile(app.assignments.get().pk)
        cloud.settle()
        assignment = app.assignments.get()
        addresses = [address.ip for address in egress_view(app).ips]
        if assignment.placement != Placement.UNCHECKED:
            break
        seen += addresses

    assert assignment.placement == Placement.APART
    assert assignment.moves == 2
    assert not any(seen)
    first, second = (int(gateway.server_id) for gateway in assignment.gateways.exclude(deleted_at__isnull=False))
    hosts = {droplet.id: droplet.host for droplet in cloud.state.droplets()}
    assert set(hosts) == {first, second}
    assert hosts[first] != hosts[second]
    assert all(addresses)
