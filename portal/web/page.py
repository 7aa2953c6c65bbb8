"""Everything that the app's page shows, put together once: the view, and what it means in pictures and words."""

import hashlib
from dataclasses import dataclass, replace

from egress.control.installation import changes_wait
from egress.control.models import App
from egress.control.selectors import DedicatedIp, EgressView, NodeView, egress_view, live_nodes
from egress.control.services import may_switch
from portal.accounts.models import User

from .layout import UPRIGHT, WIDE
from .picture import Picture, draw, hidden_nodes, in_words
from .pricing import Price, current_price
from .snippets import Snippet, snippets_for
from .states import State, gateway_state, state_of
from .timeline import Entry, timeline

#: How often a page looks again while something is under way, and while a pair is simply in use.
BUSY_SECONDS = 1
CALM_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One of the two addresses as a row of the page; until it is `assigned`, another may take its place."""

    gateway: str
    ip: str | None
    assigned: bool
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPage:
    """The page's facts. `look_again_seconds` is 0 where nothing changes by itself; `digest` tells two pages apart."""

    view: EgressView
    state: State
    addresses: tuple[Address, ...]
    #: Of an active pair: an address is gone with its server.
    lost: bool
    containers: int
    busy_nodes: int
    wide: Picture
    upright: Picture
    picture_in_words: str
    hidden_nodes: str
    entries: tuple[Entry, ...]
    snippets: tuple[Snippet, ...]
    #: None where there is none in the team's currency.
    price: Price | None
    may_change: bool
    changes_wait: str
    look_again_seconds: int
    digest: str


def app_page(app: App, user: User) -> AppPage:
    """Put the page of an app together, as `user` may see it."""
    view = _with_nodes(egress_view(app))
    allowed, waits = may_switch(app=app, actor=user), changes_wait()
    counts = [node.containers for node in view.nodes if node.containers]
    return AppPage(
        view=view,
        state=state_of(view),
        addresses=tuple(_address(ip) for ip in view.ips),
        lost=any(ip.lost for ip in view.ips),
        containers=sum(counts),
        busy_nodes=len(counts),
        wide=draw(view, WIDE),
        upright=draw(view, UPRIGHT),
        picture_in_words=in_words(view),
        hidden_nodes=hidden_nodes(view),
        entries=timeline(view.events),
        snippets=snippets_for(app=app.name, addresses=_allowable(view)),
        price=current_price(app),
        may_change=allowed,
        changes_wait=waits,
        look_again_seconds=BUSY_SECONDS if view.busy else CALM_SECONDS if view.status else 0,
        digest=hashlib.sha256(repr((view, str(app.on_outage), allowed, waits)).encode()).hexdigest()[:16],
    )


def _address(ip: DedicatedIp) -> Address:
    assigned = ip.ip is not None and ip.status == "ASSIGNED"
    return Address(gateway=ip.gateway, ip=ip.ip, assigned=assigned, state=gateway_state(ip))


def _allowable(view: EgressView) -> list[str]:
    """Return the addresses worth putting into a firewall: both, once both are the app's."""
    addresses = [ip.ip for ip in view.ips if ip.ip and ip.status == "ASSIGNED"]
    return addresses if len(addresses) == len(view.ips) and view.can_disable else []


def _with_nodes(view: EgressView) -> EgressView:
    """Add the nodes where the view has none: the picture shows the shared way too."""
    if view.nodes:
        return view
    namespace = view.app.namespace
    nodes = tuple(
        NodeView(
            name=node.name,
            containers=node.containers.get(namespace, 0),
            slot=None,
            applied=False,
            alive=node.health == "healthy",
        )
        for node in live_nodes(view.app.cluster_id)
    )
    return replace(view, nodes=nodes)
