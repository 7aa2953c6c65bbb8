"""The operators' page of a cluster: what may be changed, when, and what is written down of it."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from unfold.admin import ModelAdmin

from egress.control import distribution
from egress.control.admin.egress import ClusterAdmin
from egress.control.models import Cluster, Event
from egress.control.services import egress_enable
from egress.wire.messages import Probing
from tests.factories import make_cluster

from .fleet import Fleet

pytestmark = pytest.mark.costly


def _form(page: Client, cluster: Cluster, **changes: Any) -> dict[str, Any]:
    """Return what a browser would send of the form with these changes."""
    form = page.get(_url(cluster)).context["adminform"].form
    return {name: form[name].value() for name in form.fields} | changes


def _url(cluster: Cluster) -> str:
    return reverse("admin:control_cluster_change", args=[cluster.pk])


def test_a_cluster_is_added_by_form(admin_client: Client) -> None:
    url = reverse("admin:control_cluster_add")
    form = admin_client.get(url).context["adminform"].form
    given = {"name": "fra1-a", "region": "fra1", "vpc_id": "vpc-9", "vpc": "10.1.0.0/20", "local_networks": "[]"}
    added = admin_client.post(url, {name: form[name].value() or "" for name in form.fields} | given)
    assert added.status_code == 302, added.context["errors"]
    assert Cluster.objects.get().probe_key


def test_a_network_that_agents_would_refuse_is_refused(admin_client: Client, db: None) -> None:
    cluster = make_cluster()
    sent = _form(admin_client, cluster, vpc="10.1.0.1/20", local_networks='["everywhere"]')
    answer = admin_client.post(_url(cluster), sent)
    assert set(answer.context["adminform"].form.errors) == {"vpc", "local_networks"}


@pytest.mark.parametrize(
    ("typed", "stored"), [('["9.9.9.9", "1.1.1.1"]', ["9.9.9.9", "1.1.1.1"]), ("[]", []), ("", [])]
)
def test_the_targets_of_gateways_are_edited_as_a_list_which_may_be_empty(
    admin_client: Client, db: None, typed: str, stored: list[str]
) -> None:
    cluster = make_cluster()
    assert admin_client.post(_url(cluster), _form(admin_client, cluster, internet_targets=typed)).status_code == 302
    cluster.refresh_from_db()
    assert cluster.internet_targets == stored


def test_targets_that_arent_in_the_internet_are_refused(admin_client: Client, db: None) -> None:
    cluster = make_cluster()
    answer = admin_client.post(_url(cluster), _form(admin_client, cluster, internet_targets='["192.168.0.1"]'))
    assert "192.168.0.1" in str(answer.context["adminform"].form.errors["internet_targets"])


def test_a_change_is_written_down_with_its_author(admin_client: Client, admin_user: Any) -> None:
    cluster = make_cluster()
    sent = _form(admin_client, cluster, region="fra1", flow_deadline_seconds=60)
    assert admin_client.post(_url(cluster), sent).status_code == 302
    cluster.refresh_from_db()
    assert (cluster.region, cluster.flow_deadline_seconds) == ("fra1", 60)
    event = Event.objects.get(subject="cluster.change")
    assert event.actor == admin_user
    assert "region: lab1 → fra1" in event.reason


def test_a_form_that_was_open_for_long_does_not_turn_the_revision_back(admin_client: Client, fleet: Fleet) -> None:
    sent = _form(admin_client, fleet.cluster, gateway_size="s-2vcpu-2gb")
    fleet.bring_up()
    fleet.cluster.refresh_from_db()
    before = fleet.cluster.revision
    assert admin_client.post(_url(fleet.cluster), sent).status_code == 302
    fleet.cluster.refresh_from_db()
    assert (fleet.cluster.gateway_size, fleet.cluster.revision) == ("s-2vcpu-2gb", before)


def test_what_gateways_are_built_on_is_fixed_while_there_are_any(admin_client: Client, fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    form = admin_client.get(_url(fleet.cluster)).context["adminform"].form
    fixed = {name for name, field in form.fields.items() if field.disabled}
    assert fixed == {"region", "vpc_id", "vpc", "mark_mask", "rule_priority", "table_base"}
    admin_client.post(_url(fleet.cluster), _form(admin_client, fleet.cluster, region="fra1"))
    fleet.cluster.refresh_from_db()
    assert fleet.cluster.region == "lab1"


def test_a_change_that_comes_a_moment_too_late_is_refused_with_the_reason(
    admin_client: Client, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the first assignment began between the form's check and the write.
    monkeypatch.setattr(ClusterAdmin, "get_form", ModelAdmin.get_form)
    sent = _form(admin_client, fleet.cluster, region="fra1", gateway_size="s-2vcpu-2gb")
    egress_enable(app=fleet.app, actor=fleet.user)
    answer = admin_client.post(_url(fleet.cluster), sent, follow=True)
    assert b"Nothing was changed. region of" in answer.content
    fleet.cluster.refresh_from_db()
    assert (fleet.cluster.region, fleet.cluster.gateway_size) == ("lab1", "s-1vcpu-1gb")


@pytest.mark.parametrize(
    ("typed", "stored"), [("0x00ff0000", 0xFF0000), ("0XFF0000", 0xFF0000), ("16711680", 0xFF0000)]
)
def test_a_mask_is_shown_in_hexadecimal_and_read_either_way(
    admin_client: Client, db: None, typed: str, stored: int
) -> None:
    cluster = make_cluster()
    assert b'value="0x0fff0000"' in admin_client.get(_url(cluster)).content
    assert admin_client.post(_url(cluster), _form(admin_client, cluster, mark_mask=typed)).status_code == 302
    cluster.refresh_from_db()
    assert cluster.mark_mask == stored


@pytest.mark.parametrize("typed", ["0xzz", "mask", "", "0x00f0f000", "0xffffffffffffffff"])
def test_what_is_no_mask_is_refused_and_shown_again(admin_client: Client, db: None, typed: str) -> None:
    cluster = make_cluster()
    answer = admin_client.post(_url(cluster), _form(admin_client, cluster, mark_mask=typed))
    form = answer.context["adminform"].form
    assert "mark_mask" in form.errors
    assert form["mark_mask"].value() == typed


def test_counts_are_of_live_nodes_and_unreleased_assignments(admin_client: Client, fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    row = admin_client.get(reverse("admin:control_cluster_changelist")).context["cl"].result_list[0]
    assert (row.nodes_now, row.apps_now) == (2, 1)


def test_how_nodes_judge_gateways_is_set_here_and_told_them(admin_client: Client, db: None) -> None:
    cluster = make_cluster()
    chosen = {"probe_interval_ms": 50, "probe_misses_to_suspect": 4, "probe_dead_after_ms": 3_000}
    assert admin_client.post(_url(cluster), _form(admin_client, cluster, **chosen)).status_code == 302
    cluster.refresh_from_db()
    told = distribution.delta(cluster, "", 0).settings.probing
    assert told == Probing(interval_ms=50, misses_to_suspect=4, dead_after_ms=3_000, hold_down_seconds=30)


def test_absurd_probing_is_refused_with_the_reason(admin_client: Client, db: None) -> None:
    cluster = make_cluster()
    hasty = {"probe_interval_ms": 1_000, "probe_misses_to_suspect": 3, "probe_dead_after_ms": 4_000}
    answer = admin_client.post(_url(cluster), _form(admin_client, cluster, **hasty))
    assert b"suspect after 3 probes of 1000 ms, so 3000 ms: it can&#x27;t be dead before 6000 ms" in answer.content
    answer = admin_client.post(_url(cluster), _form(admin_client, cluster, probe_interval_ms=1))
    assert set(answer.context["adminform"].form.errors) == {"probe_interval_ms"}
