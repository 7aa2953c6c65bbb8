"""The rows of the demo: a team with a customer and a viewer, an admin, a cluster, and apps."""

from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction

from egress.control.models import App, Cluster
from egress.control.services import cluster_create
from egress.lab.cloud.state import CloudLayout
from portal.accounts.models import ApiToken, Membership, Role, Team, User

CUSTOMER = "mira@northwind.example"
VIEWER = "jon@northwind.example"
ADMIN = "admin@sluicegate.example"
PASSWORD = "sluicegate-demo"  # noqa: S105 — printed by the demo, which listens on loopback only
APPS = ("shop-api", "mail-worker", "docs-site")
NETWORKS = ("10.244.0.0/16", "10.96.0.0/16")


@transaction.atomic
def seed() -> dict[str, Any]:
    """Make the demo's rows in an empty database; returns log-ins, API token and the cluster's join token."""
    # Hashed once: it takes a good part of a second, and everybody waits for the demo.
    password = make_password(PASSWORD)
    customer = User.objects.create(email=CUSTOMER, password=password, first_name="Mira")
    viewer = User.objects.create(email=VIEWER, password=password, first_name="Jon")
    User.objects.create(email=ADMIN, password=password, first_name="Ada", is_staff=True, is_superuser=True)
    team = Team.objects.create(name="Northwind", slug="northwind")
    Membership.objects.create(team=team, user=customer, role=Role.OWNER)
    Membership.objects.create(team=team, user=viewer, role=Role.VIEWER)
    cluster, join_token = cluster_create(
        name="fra1", region="fra1", vpc_id=CloudLayout().vpc_uuid, vpc="10.110.0.0/20", local_networks=list(NETWORKS)
    )
    apps = [App.objects.create(team=team, cluster=cluster, name=name, namespace=name) for name in APPS]
    _, token = ApiToken.issue(team=team, name="demo", created_by=customer)
    return {
        "customer": CUSTOMER,
        "admin": ADMIN,
        "password": PASSWORD,
        "api_token": token,
        "join_token": join_token,
        "apps": {app.name: str(app.id) for app in apps},
    }


def is_empty() -> bool:
    """Tell whether the database has no cluster and no user yet."""
    return not (Cluster.objects.exists() or User.objects.exists())


def database() -> str:
    """Return the database's name for messages, without its password."""
    return str(settings.DATABASES["default"]["NAME"])
