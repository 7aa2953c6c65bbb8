"""Hold the kernel to what the control plane last said, and put right what others alter."""

import logging
import os
import threading
from dataclasses import dataclass, replace

from egress.wire.messages import GatewaySync

from . import kernel, ruleset, tuning
from .echo import TOKEN_BYTES
from .interfaces import Legs, NoLegs, find_legs
from .kernel import KernelError
from .ruleset import Forwarding
from .state import Store

log = logging.getLogger(__name__)

_INSTALL_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What was found at the last look. `applied_revision` is that of the client list in force."""

    forwarding: bool = False
    detail: str = "starting"
    applied_revision: int = 0
    public_interface: str = ""
    public_address: str = ""
    private_address: str = ""
    next_hop: str = ""
    targets: tuple[str, ...] = ()
    probe_key: bytes = b""


class Keeper:
    """The one place that changes the kernel; safe for use by several threads."""

    def __init__(self, store: Store, vpc: str) -> None:
        self._store = store
        self._vpc = vpc
        #: Known to our echoes and to our rules alone.
        self.echo_token = os.urandom(TOKEN_BYTES)
        self._lock = threading.Lock()
        self._wish = store.clients()
        self._unsaved = ""
        #: The ruleset in force: None is the closed one. Means something only once `_listing` is known.
        self._in_force: Forwarding | None = None
        self._listing: str | None = None
        self._generation: int | None = None
        self._refused_settings: set[str] = set()
        self.status = Status()

    @property
    def wish(self) -> GatewaySync | None:
        """What the control plane said last; None before it said anything."""
        return self._wish

    def adopt(self, wish: GatewaySync) -> Status:
        """Make `wish` hold from now on, also after a restart, and return what came of it."""
        with self._lock:
            if wish != self._wish:
                log.info(
                    "revision %d: forwarding for %d nodes as %s", wish.revision, len(wish.clients), wish.public_address
                )
                self._save(wish)
            self._wish = wish
            return self._ensure()

    def ensure(self) -> Status:
        """Look at the kernel, put right what isn't as it should be, and return what was found."""
        with self._lock:
            return self._ensure()

    def _save(self, wish: GatewaySync) -> None:
        """Keep `wish` before it is applied: a crash in between must not bring a removed client back."""
        try:
            self._store.save_clients(wish)
            self._unsaved = ""
        except OSError as error:
            # A full disk is no reason to forward for a node that was removed, or not for one that was added.
            self._unsaved = f"the client list can't be saved and would be lost at a restart: {error}"
            log.warning("%s", self._unsaved)

    def _ensure(self) -> Status:
        try:
            status = self._hold()
        except (KernelError, NoLegs, ValueError) as error:
            status = replace(self.status, forwarding=False, detail=str(error)[:1000])
        if (status.forwarding, status.detail) != (self.status.forwarding, self.status.detail):
            log.info("forwarding %s: %s", "on" if status.forwarding else "off", status.detail or "all in place")
        self.status = status
        return status

    def _hold(self) -> Status:
        if kernel.raise_barrier() and self._listing is not None:
            log.warning("the barrier's policy rules were missing and are back")
        try:
            wanted, legs = self._wanted()
        except NoLegs:
            self._enforce(None)
            raise
        self._enforce(wanted)
        if wanted is None or self._wish is None:
            return Status(detail="waiting for the first list of nodes")
        self._tune()
        if kernel.sysctl(tuning.FORWARD) != "1":
            kernel.set_sysctl(tuning.FORWARD, "1")
        return Status(
            forwarding=True,
            detail=self._unsaved,
            applied_revision=self._wish.revision,
            public_interface=legs.public_interface,
            public_address=self._wish.public_address,
            private_address=legs.private_address,
            next_hop=legs.next_hop,
            targets=self._wish.targets,
            probe_key=bytes.fromhex(self._wish.probe_key),
        )

    def _wanted(self) -> tuple[Forwarding | None, Legs]:
        """Return what to forward (None: nothing yet) and between what. Raises NoLegs, KernelError."""
        wish = self._wish
        legs = find_legs(kernel.addresses(), kernel.default_routes(), wish.vpc if wish else self._vpc)
        if wish is None:
            return None, legs
        if wish.public_address not in legs.public_addresses:
            raise NoLegs(f"{legs.public_interface} doesn't have the public address {wish.public_address}")
        return Forwarding(
            public_interface=legs.public_interface,
            private_interface=legs.private_interface,
            public_address=wish.public_address,
            vpc=wish.vpc,
            clients=frozenset(wish.clients),
            targets=frozenset(wish.targets),
            echo_token=self.echo_token,
            scrapers=frozenset(wish.scrapers),
        ), legs

    def _enforce(self, wanted: Forwarding | None) -> None:
        """Have `wanted` in force; touch the table only when that, or somebody else, changes it."""
        intact = self._intact()
        if intact and wanted == self._in_force:
            return
        if self._listing is not None and not intact:
            log.warning("nftables table %s was altered from outside and is put back", ruleset.TABLE)
        self._install(_change(self._in_force if intact else None, wanted), wanted)

    def _intact(self) -> bool:
        """Tell whether the table is as we left it. Costs next to nothing while nobody commits anything to nftables."""
        generation = kernel.generation()
        if generation == self._generation:
            return True
        if self._listing is None or kernel.listing() != self._listing or kernel.generation() != generation:
            return False
        self._generation = generation
        return True

    def _install(self, change: str, wanted: Forwarding | None) -> None:
        """Apply `change` and remember what the kernel makes of it.

        Raises KernelError when others keep committing to nftables between our commit and our look at it: then what
        we see may be theirs.
        """
        for _ in range(_INSTALL_ATTEMPTS):
            before = kernel.generation()
            kernel.load(change)
            listing = kernel.listing()
            after = kernel.generation()
            if after == (before + 1) % 2**32:
                self._in_force, self._listing, self._generation = wanted, listing, after
                return
            change = _change(None, wanted)
        raise KernelError("another program keeps changing nftables: find it with 'nft monitor' and stop it")

    def _tune(self) -> None:
        for name, value in tuning.CONNTRACK.items():
            try:
                if name not in self._refused_settings and kernel.sysctl(name) != value:
                    kernel.set_sysctl(name, value)
            except KernelError as error:
                self._refused_settings.add(name)
                log.warning("%s; going on without it", error)


def _change(in_force: Forwarding | None, wanted: Forwarding | None) -> str:
    """Return the transaction that leads from the one ruleset to the other; None is the closed one."""
    if wanted is None:
        return ruleset.closed()
    if in_force is not None and replace(in_force, clients=wanted.clients) == wanted:
        return ruleset.replace_clients(wanted.clients)
    return ruleset.open_for(wanted)
