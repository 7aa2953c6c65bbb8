"""Make rows for tests: every function fills in what its caller doesn't care about."""

from itertools import count
from typing import Any

from egress.control.models import App, Cluster, Node
from egress.control.services import cluster_create
from portal.accounts.models import Membership, Role, Team, User, token_hash

_numbers = count(1)


def make_user(email: str = "", *, password: str | None = None, **fields: Any) -> User:
    return User.objects.create_user(email or f"user{next(_numbers)}@example.com", password, **fields)


def make_team(*members: User, role: Role = Role.MEMBER, slug: str = "") -> Team:
    slug = slug or f"team-{next(_numbers)}"
    team = Team.objects.create(name=slug.title(), slug=slug)
    for user in members:
        Membership.objects.create(user=user, team=team, role=role)
    return team


def make_cluster_and_token(**fields: Any) -> tuple[Cluster, str]:
    values: dict[str, Any] = {
        "name": f"cluster-{next(_numbers)}",
        "region": "lab1",
        "vpc_id": "vpc-1",
        "vpc": "10.110.0.0/20",
        "local_networks": ["10.244.0.0/16", "10.96.0.0/16"],
    }
    return cluster_create(**{**values, **fields})


def make_cluster(**fields: Any) -> Cluster:
    return make_cluster_and_token(**fields)[0]


def make_app(team: Team | None = None, cluster: Cluster | None = None, name: str = "", **fields: Any) -> App:
    name = name or f"app-{next(_numbers)}"
    return App.objects.create(
        team=team or make_team(), cluster=cluster or make_cluster(), name=name, **{"namespace": name, **fields}
    )


def make_node(cluster: Cluster, *, token: str = "", **fields: Any) -> Node:
    """Make a live node whose credential is `token`, by default `node-token-NAME`."""
    ordinal = cluster.nodes.count()
    values: dict[str, Any] = {
        "name": f"node-{ordinal + 1}",
        "ordinal": ordinal,
        "private_address": f"10.110.0.{21 + ordinal}",
        "dataplane": "ok",
        **fields,
    }
    return Node.objects.create(
        cluster=cluster, token_hash=token_hash(token or f"node-token-{values['name']}"), **values
    )
