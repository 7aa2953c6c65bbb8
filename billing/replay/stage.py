"""Where a history is played: an installation that is a lab, and rows of its own in it."""

from datetime import date, timedelta
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from billing.models import Meter, Replay
from billing.rating import months
from egress.control import clock
from egress.control.models import App, Assignment, Node, NodeStatus
from egress.control.services import cluster_create, node_remove
from portal.accounts.models import Membership, Role, Team, User

from .errors import ReplayRefused
from .plot import month_after
from .scenes import Plot

MOST_MONTHS: Final = 36
MOST_APPS: Final = 10_000
REPLAY: Final = 1
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_NAME: Final = "replay"
#: Of a domain that no mail can be sent to.
_ACTOR: Final = "replay@sluicegate.invalid"
#: Rows of one statement.
_AT_ONCE: Final = 500


def app_name(app: int) -> str:
    """Return an app's name, and its namespace."""
    return f"{_NAME}-app-{app + 1}"


def team_slug(team: int) -> str:
    """Return a team's slug."""
    return f"{_NAME}-{team + 1}"


def require_a_lab() -> None:
    """Raise ReplayRefused unless this installation's servers and money are made up, too."""
    provider, stripe = urlsplit(settings.DIGITALOCEAN_API_URL).hostname, urlsplit(settings.STRIPE_API_URL).hostname
    if provider not in _HERE:
        raise ReplayRefused(
            f"This installation's provider is {provider}, so it is no lab: made-up history would stay in its ledger for"
            " ever. Use a demo, or set DIGITALOCEAN_API_URL to a lab's address on this machine."
        )
    if settings.STRIPE_SECRET_KEY and stripe not in _HERE:
        raise ReplayRefused(
            "This installation collects through Stripe itself, which would invoice made-up history: set STRIPE_API_URL"
            " to a stand-in's address on this machine, or leave STRIPE_SECRET_KEY empty."
        )


def first_month(count: int) -> date:
    """Return the month that the last `count` months begin with which can have statements by now."""
    last = months.month_of(clock.now() - timedelta(hours=settings.BILLING_HOLD_HOURS) - timedelta(days=1))
    for _ in range(count):
        last = months.month_of(months.begin_of(last) - timedelta(days=1))
    return last


def check(*, first: date, count: int, apps: int) -> None:
    """Raise ReplayRefused for what can't be played."""
    if not (1 <= count <= MOST_MONTHS and 1 <= apps <= MOST_APPS):
        raise ReplayRefused(f"Between 1 and {MOST_MONTHS} months can be played, with 1 to {MOST_APPS} apps.")
    if month_after(first, count) > month_after(first_month(count), count):
        raise ReplayRefused("These months aren't over yet, or their statements can't be made yet: begin earlier.")


def set_up(plot: Plot, *, seed: int, first: date, count: int, owner: User | None) -> Replay:
    """Return the replay, made where there is none yet. Raises ReplayRefused where there is anything else already."""
    with transaction.atomic():
        there = Replay.objects.select_related("cluster", "actor").filter(pk=REPLAY).first()
        if there is not None:
            if (there.seed, there.first_month, there.months, there.apps) != (seed, first, count, plot.apps):
                raise ReplayRefused(f"This database has a history already: {there}. Play that, or use an empty one.")
            if there.finished_at is None:
                _require_nothing_else(Assignment.objects.exclude(cluster=there.cluster_id).count())
            return there
        _require_empty()
        with clock.playing(plot.begin - timedelta(hours=2)):
            return _make(plot, seed=seed, first=first, count=count, owner=owner)


def _require_empty() -> None:
    _require_nothing_else(Assignment.objects.count())
    # One that has nothing to count begins anew, with the history.
    Meter.objects.all().delete()


def _require_nothing_else(real: int) -> None:
    if real:
        raise ReplayRefused(
            f"Dedicated egress is or was in use here ({real} assignments): what happened and what is made up must not"
            " lie in one ledger. Use an installation in which nothing was enabled yet."
        )


def _make(plot: Plot, *, seed: int, first: date, count: int, owner: User | None) -> Replay:
    cluster, _ = cluster_create(name=_NAME, region="lab1", vpc_id=_NAME, vpc="10.120.0.0/16", local_networks=[])
    actor = owner or User.objects.create_user(_ACTOR, None)
    teams = [Team(name=f"Replay {number + 1}", slug=team_slug(number)) for number in range(plot.teams)]
    Team.objects.bulk_create(teams, batch_size=_AT_ONCE)
    members = [Membership(user=actor, team=team, role=Role.OWNER) for team in teams]
    Membership.objects.bulk_create(members, batch_size=_AT_ONCE)
    names = [app_name(number) for number in range(plot.apps)]
    apps = [
        App(team=teams[plot.team_of(number)], cluster=cluster, name=name, namespace=name)
        for number, name in enumerate(names)
    ]
    App.objects.bulk_create(apps, batch_size=_AT_ONCE)
    for number in range(plot.nodes):
        address = f"10.120.{number // 250}.{number % 250 + 1}"
        Node.objects.create(cluster=cluster, name=f"{_NAME}-node-{number + 1}", private_address=address, ordinal=number)
    return Replay.objects.create(
        pk=REPLAY, seed=seed, first_month=first, months=count, apps=plot.apps, cluster=cluster, actor=actor,
        played_until=plot.begin - timedelta(hours=2),
    )  # fmt: skip


def take_down(replay: Replay) -> None:
    """Remove the nodes, so that nobody waits for them."""
    for node in Node.objects.filter(cluster=replay.cluster_id, status=NodeStatus.LIVE):
        node_remove(node=node, actor=replay.actor)
