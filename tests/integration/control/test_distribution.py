"""Revisions and deltas."""

import pytest

from egress.control.distribution import MAX_DELTA, delta, publish, settings_of
from egress.control.models import Cluster, RouteChange
from egress.wire.codec import decode, encode
from egress.wire.messages import ClusterSettings, NodeSync, Route, RouteGateway
from tests.factories import make_cluster


def route(namespace: str, pair: int = 1) -> Route:
    gateway = RouteGateway(id="g", slot=0, private_address="10.110.0.101", public_address="203.0.113.1")
    return Route(namespace=namespace, pair=pair, state="active", gateways=(gateway,))


@pytest.fixture
def cluster(db: None) -> Cluster:
    return make_cluster()


def told(cluster: Cluster, since: int, epoch: str | None = None) -> NodeSync:
    cluster.refresh_from_db()
    return delta(cluster, str(cluster.epoch) if epoch is None else epoch, since)


def test_every_change_has_its_own_number_and_a_namespace_one_row(cluster: Cluster) -> None:
    assert [
        publish(cluster.pk, "a", route("a")),
        publish(cluster.pk, "b", route("b")),
        publish(cluster.pk, "a", None),
    ] == [
        1,
        2,
        3,
    ]
    assert RouteChange.objects.count() == 2


def test_a_node_learns_only_what_came_after_its_revision(cluster: Cluster) -> None:
    for name in "abc":
        publish(cluster.pk, name, route(name))
    publish(cluster.pk, "a", None)
    reply = told(cluster, since=2)
    assert (reply.full, reply.revision) == (False, 4)
    assert [item.namespace for item in reply.routes] == ["c"]
    assert reply.removed == ("a",)


@pytest.mark.parametrize(("since", "epoch"), [(0, None), (99, None), (2, ""), (2, "another")])
def test_another_history_or_none_gets_everything_that_holds(cluster: Cluster, since: int, epoch: str | None) -> None:
    publish(cluster.pk, "a", route("a"))
    publish(cluster.pk, "b", route("b"))
    publish(cluster.pk, "a", None)
    reply = told(cluster, since, epoch)
    assert reply.full
    assert [item.namespace for item in reply.routes] == ["b"]
    assert reply.removed == ()


def test_who_is_up_to_date_learns_nothing(cluster: Cluster) -> None:
    publish(cluster.pk, "a", route("a"))
    reply = told(cluster, since=1)
    assert (reply.full, reply.routes, reply.removed, reply.revision) == (False, (), (), 1)


def test_who_missed_too_much_gets_everything(cluster: Cluster) -> None:
    count = MAX_DELTA + 2
    RouteChange.objects.bulk_create(
        RouteChange(cluster=cluster, namespace=f"n{number}", revision=number) for number in range(1, count + 1)
    )
    Cluster.objects.update(revision=count)
    assert not told(cluster, since=2).full
    assert told(cluster, since=1).full


def test_what_is_told_survives_the_wire(cluster: Cluster) -> None:
    publish(cluster.pk, "a", route("a", pair=7))
    reply = told(cluster, since=0)
    assert decode(NodeSync, encode(reply)) == reply
    assert reply.settings == settings_of(cluster)
    assert reply.probe_key == cluster.probe_key


def test_defaults_and_bounds_of_a_cluster_are_the_wires(cluster: Cluster) -> None:
    defaults = ClusterSettings(vpc=cluster.vpc, local_networks=tuple(cluster.local_networks))
    assert settings_of(cluster) == defaults
    for name, high in {"mark_mask": 2**32 - 1, "rule_priority": 28_000, "snat_port_last": 65_535}.items():
        validators = Cluster._meta.get_field(name).validators
        assert high in [getattr(validator, "limit_value", None) for validator in validators]


def test_clusters_number_for_themselves(cluster: Cluster) -> None:
    publish(cluster.pk, "a", route("a"))
    assert publish(make_cluster().pk, "a", route("a")) == 1
