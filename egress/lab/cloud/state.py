"""What the lab's cloud remembers: Droplets, actions, addresses. A pure model: no I/O, and time is an argument."""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Literal

from .errors import no_capacity, unprocessable
from .requests import CreateRequest

DropletStatus = Literal["new", "active", "off"]
ActionStatus = Literal["in-progress", "completed", "errored"]

#: Finished actions beyond this number are forgotten, oldest first.
MAX_ACTIONS = 10_000
FIRST_DROPLET_ID = 3_164_001
FIRST_ACTION_ID = 36_804_001


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudLayout:
    """The cloud's size. Address ranges are (first, last), both included; `hosts` is the number of physical machines."""

    public_addresses: tuple[str, str] = ("203.0.113.10", "203.0.113.250")
    private_addresses: tuple[str, str] = ("10.110.0.100", "10.110.15.250")
    vpc_uuid: str = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
    droplet_limit: int = 200
    hosts: int = 8


@dataclass(slots=True, kw_only=True)
class Droplet:
    """One Droplet. `addressed` is False while the API doesn't show its addresses yet."""

    id: int
    name: str
    region: str
    size: str
    image: str
    user_data: str = field(repr=False)
    tags: tuple[str, ...]
    vpc_uuid: str
    public_address: str
    private_address: str
    host: int
    created_at: float
    status: DropletStatus = "new"
    addressed: bool = False


@dataclass(slots=True, kw_only=True)
class Action:
    """One change of one Droplet; at most one per Droplet is in progress."""

    id: int
    type: str
    droplet_id: int
    region: str
    started_at: float
    status: ActionStatus = "in-progress"
    completed_at: float | None = None


class AddressPool:
    """Addresses from `first` to `last`; the one that has been free for longest is the next to be used."""

    def __init__(self, first: str, last: str) -> None:
        low, high = int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last))
        self._free = deque(range(low, high + 1))

    def __len__(self) -> int:
        return len(self._free)

    def take(self) -> str:
        """Return an address that nobody has. Raises IndexError when there is none."""
        return str(ipaddress.IPv4Address(self._free.popleft()))

    def give_back(self, address: str) -> None:
        """Put `address` at the end of the queue."""
        self._free.append(int(ipaddress.IPv4Address(address)))


class CloudState:
    """All Droplets and actions. Methods raise ApiError where the real cloud refuses."""

    def __init__(self, layout: CloudLayout) -> None:
        self.layout = layout
        self._public = AddressPool(*layout.public_addresses)
        self._private = AddressPool(*layout.private_addresses)
        self._droplets: dict[int, Droplet] = {}
        self._actions: OrderedDict[int, Action] = OrderedDict()
        self._pending: dict[int, Action] = {}
        self._created = 0
        #: The host of the Droplet that was created last.
        self._host = -1
        self._acted = 0

    def create(self, request: CreateRequest, now: float, *, same_host: bool = False) -> list[tuple[Droplet, Action]]:
        """Add one Droplet per name, each with its `create` action; all or none.

        Hosts take turns; with `same_host` each lands where the one created last did.
        """
        if request.vpc_uuid not in (None, self.layout.vpc_uuid):
            raise unprocessable("Failed to resolve VPC")
        if len(self._droplets) + len(request.names) > self.layout.droplet_limit:
            raise unprocessable("creating this/these droplet(s) will exceed your droplet limit")
        if min(len(self._public), len(self._private)) < len(request.names):
            raise no_capacity()
        return [self._add(name, request, now, self._next_host(same_host=same_host)) for name in request.names]

    def droplet(self, droplet_id: int) -> Droplet | None:
        """Return one Droplet, None if there is none."""
        return self._droplets.get(droplet_id)

    def droplets(self, *, tag: str | None = None, name: str | None = None) -> list[Droplet]:
        """Return the Droplets that bear `tag` and `name` (None: any), newest first; case of tags doesn't matter."""
        return [
            droplet
            for droplet in reversed(self._droplets.values())
            if (tag is None or tag.lower() in map(str.lower, droplet.tags)) and name in (None, droplet.name)
        ]

    def neighbours(self, droplet: Droplet) -> list[Droplet]:
        """Return the other Droplets on the same host."""
        return [other for other in self.droplets() if other.host == droplet.host and other is not droplet]

    def remove(self, droplet: Droplet) -> None:
        """Forget `droplet`; its addresses stay taken until `release`."""
        self._refuse_if_busy(droplet)
        del self._droplets[droplet.id]

    def release(self, droplet: Droplet) -> None:
        """Give the addresses of a removed Droplet back."""
        self._public.give_back(droplet.public_address)
        self._private.give_back(droplet.private_address)

    def begin(self, droplet: Droplet, kind: str, now: float) -> Action:
        """Begin an action on `droplet`."""
        self._refuse_if_busy(droplet)
        action = Action(
            id=FIRST_ACTION_ID + self._acted, type=kind, droplet_id=droplet.id, region=droplet.region, started_at=now
        )
        self._acted += 1
        self._actions[action.id] = self._pending[droplet.id] = action
        if len(self._actions) > MAX_ACTIONS:
            # One in progress is never among the oldest 10,000: each is bounded in time.
            self._actions.popitem(last=False)
        return action

    def finish(self, action: Action, status: ActionStatus, now: float) -> None:
        """End `action`."""
        action.status, action.completed_at = status, now
        del self._pending[action.droplet_id]

    def action(self, action_id: int) -> Action | None:
        """Return one action, None if there is none or it was forgotten."""
        return self._actions.get(action_id)

    def _next_host(self, *, same_host: bool) -> int:
        self._host = self._host if same_host else (self._host + 1) % self.layout.hosts
        return self._host

    def _add(self, name: str, request: CreateRequest, now: float, host: int) -> tuple[Droplet, Action]:
        droplet = Droplet(
            id=FIRST_DROPLET_ID + self._created,
            name=name,
            region=request.region,
            size=request.size,
            image=request.image,
            user_data=request.user_data,
            tags=request.tags,
            vpc_uuid=self.layout.vpc_uuid,
            public_address=self._public.take(),
            private_address=self._private.take(),
            host=host,
            created_at=now,
        )
        self._created += 1
        self._droplets[droplet.id] = droplet
        return droplet, self.begin(droplet, "create", now)

    def _refuse_if_busy(self, droplet: Droplet) -> None:
        if droplet.id in self._pending:
            raise unprocessable("Droplet already has a pending event.")
