"""Two installations on one DigitalOcean account: each with a database of its own, both through pydo over TLS."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_django import Settings

from egress.control import installation, naming, provider_access
from egress.control.inventory.tidy import tidy
from egress.control.models import AssignmentStatus, Gateway
from egress.control.models_installation import Installation, StrayServer
from egress.control.services import egress_disable, egress_enable
from tests.contract.cloudlab import TOKEN, CloudLab
from tests.factories import make_app, make_cluster, make_node, make_team, make_user
from tests.integration.control.backup import Backups
from tests.integration.control.fleet import Fleet

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Account:
    """One account; `work_as` puts an installation's database and id in place."""

    lab: CloudLab
    backups: Backups
    settings: Settings
    present: str = ""

    def work_as(self, name: str, database: str = "") -> None:
        if self.present:
            self.backups.take(self.present)
        self.backups.restore(database or name)
        self.present = self.settings.INSTALLATION_ID = name

    def servers(self, name: str) -> set[str]:
        return {droplet.name for droplet in self.lab.state.droplets(tag=f"sluicegate-{name}")}


@pytest.fixture
def account(db: None, lab: CloudLab, tmp_path: Path, settings: Settings) -> Iterator[Account]:
    settings.EGRESS_PROVIDER = "egress.control.provider_access.digitalocean"
    settings.DIGITALOCEAN_TOKEN = TOKEN
    settings.DIGITALOCEAN_API_URL = lab.url
    settings.DIGITALOCEAN_CA_FILE = str(lab.certificates.ca_file)
    provider_access.digitalocean.cache_clear()
    made = Account(lab, Backups(tmp_path), settings)
    for name in ("eu", "us"):
        made.backups.take(name)
    yield made
    made.backups.forget()
    provider_access.digitalocean().close()
    provider_access.digitalocean.cache_clear()


def bring_up(account: Account, name: str) -> Fleet:
    account.work_as(name)
    user, cluster = make_user(), make_cluster(region="nyc3", vpc_id=account.lab.state.layout.vpc_uuid)
    nodes = [make_node(cluster)]
    fleet = Fleet(cluster, make_app(make_team(user), cluster), user, account.lab, nodes)  # type: ignore[arg-type]
    egress_enable(app=fleet.app, actor=user)
    fleet.step()
    account.lab.settle()
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.ACTIVE
    return fleet


def bring_down(account: Account, fleet: Fleet) -> None:
    egress_disable(app=fleet.app, actor=fleet.user)
    for _ in range(4):
        fleet.step()
        fleet.nodes_follow()
        account.lab.settle()
    assert fleet.assignment.status == AssignmentStatus.RELEASED


def test_neither_touches_or_even_sees_the_others_servers(account: Account) -> None:
    theirs = bring_up(account, "eu")
    ours = bring_up(account, "us")
    assert (len(account.servers("eu")), len(account.servers("us"))) == (2, 2)
    tidy()
    assert not StrayServer.objects.exists()
    bring_down(account, ours)
    assert (len(account.servers("eu")), len(account.servers("us"))) == (2, 0)
    account.work_as("eu")
    tidy()
    assert not StrayServer.objects.exists()
    bring_down(account, theirs)
    assert account.lab.state.droplets() == []


def test_a_copy_of_the_others_database_touches_nothing_even_if_it_goes_on(account: Account) -> None:
    theirs = bring_up(account, "eu")
    account.backups.take("us")
    account.work_as("us")
    tidy()
    egress_disable(app=theirs.app, actor=theirs.user)
    theirs.step()
    assert theirs.assignment.status == AssignmentStatus.ACTIVE
    assert "belongs to the installation 'eu'" in installation.why_still()

    # Somebody "repairs" that by hand: rows still name the others' servers, but their tags aren't ours.
    Installation.objects.update(name="us")
    bring_down(account, theirs)
    tidy()
    assert len(account.servers("eu")) == 2


def test_an_unknown_server_of_ours_is_kept_and_found_by_its_tags(account: Account) -> None:
    fleet = bring_up(account, "eu")
    account.backups.restore("us")
    account.present = ""
    tidy()
    strays = list(StrayServer.objects.all())
    origins = [naming.origin_of(stray.tags) for stray in strays]
    assert {origin.slot for origin in origins if origin} == {0, 1}
    assert {origin.app_id for origin in origins if origin} == {fleet.app.pk}
    assert all(stray.public_address for stray in strays)
    assert not Gateway.objects.exists()
    assert len(account.servers("eu")) == 2
