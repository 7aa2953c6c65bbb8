"""Keep the data plane as the route table and the containers want it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Literal, Protocol, TypeVar

from egress.netkit.desired import Observed, Pod, Wish
from egress.wire.messages import NodeSync, Route

from .cni_protocol import TRY_LATER, CniError
from .config import Config
from .containers import Containers
from .judge import Judgement, Target
from .state import State
from .worker import Worker

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Between two full looks at the kernel, which tells of changes by itself; between two at the containers' files.
REST_SECONDS = 60.0
LOOK_SECONDS = 10.0
#: After a failure the next try comes so soon.
RETRY_SECONDS = 1.0
#: Between two full looks that somebody else's changes make necessary, so that a fight costs little.
GAP_SECONDS = 0.5
#: From the removal of a pod to what is left to do after it.
TIDY_SECONDS = 5.0
#: Notices that come together are read together.
DEBOUNCE_SECONDS = 0.02
#: How long an ADD waits for its rules: less than the plugin waits for the agent.
POD_SECONDS = 4.0
#: How long the data plane may take for all it has to do, before it counts as failed.
APPLY_SECONDS = 60.0


class Dataplane(Protocol):
    """The kernel's side; every call blocks and comes from one thread. Errors are exceptions of any kind."""

    def start(self, wish: Wish) -> None:
        """Make ready and bring `wish` about; the kernel may hold what an earlier agent left."""

    @property
    def files(self) -> tuple[int, ...]:
        """Files that turn readable when something in the kernel changes; any thread may wait for that."""

    def altered(self) -> bool:
        """Take in what has changed; tell whether others may have altered what is ours."""

    def reconcile(self, wish: Wish) -> Observed:
        """Bring `wish` about, and put right what was altered from outside."""

    def change(self, wish: Wish) -> Observed:
        """Bring a changed `wish` about quickly, trusting that nothing was altered from outside."""

    def pod_added(self, wish: Wish, pod: Pod) -> None:
        """Put the rules for `pod`, which is part of `wish`, in place."""

    def pod_removed(self, wish: Wish, address: str) -> None:
        """Take away what is there for `address`, which is no longer part of `wish`."""

    def returned(self) -> Mapping[str, int]:
        """Return how many packets each suspect gateway (by id) has returned since it became so."""

    def unsure(self) -> None:
        """Learn anew which addresses were used: pods may have lived and died there untold."""

    def close(self) -> None:
        """Let go of the kernel and leave it as it is."""


class NotAppliedError(Exception):
    """The data plane couldn't bring the wish about."""


class Steward:
    """Own the wish: build it from table, containers and probes, and have it brought about.

    `open_dataplane` is called in the data plane's own thread. `changed` is called after anything that a report
    would tell, `applied` with each wish that was brought about.
    """

    def __init__(
        self,
        config: Config,
        state: State,
        containers: Containers,
        open_dataplane: Callable[[], Dataplane],
        changed: Callable[[], None],
        applied: Callable[[Wish], None],
    ) -> None:
        self._config = config
        self._state = state
        self._containers = containers
        self._open_dataplane = open_dataplane
        self._dataplane: Dataplane | None = None
        self._changed = changed
        self._applied = applied
        self._worker = Worker("dataplane")
        self._looker = Worker("containers")
        self._refreshing = asyncio.Lock()
        self._indexed: tuple[NodeSync | None, Mapping[str, Route], Mapping[str, Route]] = None, {}, {}
        self._judgement = Judgement()
        self._settled = asyncio.Event()
        #: Set when containers may have come and gone without a word.
        self._unsure = asyncio.Event()
        #: Set when `run` must look up: for a notice of the kernel's, or for another time at which something falls due.
        self._wake = asyncio.Event()
        self._noticed = False
        #: When the kernel is looked at in full, whatever happens, and when it is called for something that falls due.
        self._look_at = self._due_at = 0.0
        self.status: Literal["ok", "starting", "unsupported", "failed"] = "starting"
        self.detail = ""
        self.observed = Observed()

    @property
    def table(self) -> NodeSync | None:
        """The route table, None before the first sync."""
        return self._state.table

    def gateways_in_use(self) -> dict[str, Target]:
        """Return the gateways, by id, that containers here use or have flows on."""
        routes, by_gateway = self._index()
        used = [routes[namespace] for namespace in self._containers.counts() if namespace in routes]
        used += [
            by_gateway[gateway] for gateway, flows in self.observed.flows.items() if flows and gateway in by_gateway
        ]
        return {
            gateway.id: Target(gateway.private_address, peer, gateway.down)
            for route in used
            for gateway in route.gateways
            for peer in [next((other.id for other in route.gateways if other is not gateway), "")]
        }

    async def apply(self, table: NodeSync) -> None:
        """Keep `table` and bring it about; raise NotAppliedError when that failed, OSError when the disk did."""
        await self._looker.submit(lambda: self._state.save_table(table))
        await self.refresh()

    async def refresh(self, *, look: bool = False) -> None:
        """Bring about what table, containers and probes want now; with a full `look`, whatever others have altered."""
        loop = asyncio.get_running_loop()
        if self.table is None:
            self._due_at = loop.time() + REST_SECONDS
            return
        # The wish is read and queued in one step, so that the data plane meets wishes in the order of their making.
        async with self._refreshing:
            try:
                if self._dataplane is None:
                    self._dataplane = await self._do(self._started, APPLY_SECONDS)
                    self._listen()
                dataplane = self._dataplane
                look = look or self.status != "ok" or loop.time() >= self._look_at
                wish = self._wish()
                observed = await self._do(dataplane.reconcile if look else dataplane.change, APPLY_SECONDS)
            except NotAppliedError as error:
                self._due_at = loop.time() + RETRY_SECONDS
                self._wake.set()
                self._tell("failed", str(error))
                raise
        if look:
            self._look_at = loop.time() + REST_SECONDS
        self._due_at = min(self._look_at, loop.time() + (observed.again_seconds or REST_SECONDS))
        self._wake.set()
        for repair in observed.repaired:
            log.warning("altered from outside, put right: %s", repair)
        self.observed = observed
        self._tell("ok", "; ".join(observed.warnings))
        self._applied(wish)

    async def try_refresh(self, *, look: bool = False) -> None:
        """Refresh; a failure is in the log and the status, and `run` tries again."""
        with suppress(NotAppliedError):
            await self.refresh(look=look)

    async def look(self) -> bool:
        """Compare the known containers with the runtime's files and their namespaces; return whether that was news."""
        known = self._containers.known()
        found, gone = await self._looker.submit(lambda: self._containers.look(known))
        news = self._containers.settle(found, gone)
        if news:
            self._changed()
        return news

    async def run(self) -> None:
        """Look after everything until cancelled: drift, lost events, connections that come to an end."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._watch_containers())
            jobs.create_task(self._watch_kernel())

    def missed(self) -> None:
        """Take down that containers came or went untold: find out soon who is here, and what the gone ones left."""
        self._unsure.set()

    async def _watch_containers(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._unsure.wait()
            unsure = self._unsure.is_set()
            self._unsure.clear()
            if unsure and (dataplane := self._dataplane):
                with suppress(NotAppliedError):
                    await self._do(lambda _wish: dataplane.unsure(), APPLY_SECONDS)
            if await self.look():
                await self.try_refresh()

    async def _watch_kernel(self) -> None:
        """Refresh when something falls due, and look in full when others have altered something."""
        loop = asyncio.get_running_loop()
        while True:
            await self._pause()
            altered = await self._altered()
            if altered or loop.time() >= self._due_at:
                await self.try_refresh(look=altered)
            if altered:
                await asyncio.sleep(GAP_SECONDS)
            self._listen()

    async def _pause(self) -> None:
        """Wait until something falls due, has changed in the kernel, or what falls due is another thing."""
        seconds = self._due_at - asyncio.get_running_loop().time()
        # Not wait_for, which in Python 3.11 can lose a cancellation.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wake.wait()
        self._wake.clear()

    async def _altered(self) -> bool:
        """Tell whether others have altered what is ours."""
        dataplane = self._dataplane
        if dataplane is None or not self._noticed:
            return False
        await asyncio.sleep(DEBOUNCE_SECONDS)
        self._noticed = False
        try:
            return await self._do(lambda _wish: dataplane.altered(), POD_SECONDS)
        except NotAppliedError as error:
            log.warning("the kernel's notices can't be read, so it is looked at in full: %s", error)
            return True

    def _listen(self) -> None:
        """Have the kernel's next notice noted."""
        for file in self._dataplane.files if self._dataplane else ():
            asyncio.get_running_loop().add_reader(file, self._notice)

    def _notice(self) -> None:
        # Deaf until these notices are read: more of them say nothing more.
        self._turn_deaf()
        self._noticed = True
        self._wake.set()

    def _turn_deaf(self) -> None:
        for file in self._dataplane.files if self._dataplane else ():
            asyncio.get_running_loop().remove_reader(file)

    def judge(self, judgement: Judgement) -> bool:
        """Take `judgement` for what the next refresh brings about; False when that is nothing new."""
        news = judgement != self._judgement
        self._judgement = judgement
        return news

    async def returned(self) -> Mapping[str, int]:
        """Return how many packets each suspect gateway has returned since it became so; nothing when that fails."""
        dataplane = self._dataplane
        if dataplane is None:
            return {}
        try:
            return await self._do(lambda _wish: dataplane.returned(), POD_SECONDS)
        except NotAppliedError as error:
            # Asked again in the next round; that the data plane fails is told elsewhere.
            log.debug("what suspect gateways return can't be counted: %s", error)
            return {}

    def must_wait(self, namespace: str) -> bool:
        """Return whether a container of `namespace` must not start without its rules."""
        return self._state.must_wait(namespace)

    async def pod_added(self, pod: Pod) -> None:
        """Put the rules for `pod` in place; raise CniError when they aren't and must be."""
        self._changed()
        if not pod.steerable:
            log.warning("container %s of %s can't be steered on its network", pod.container_id, pod.namespace)
            return
        try:
            async with asyncio.timeout(POD_SECONDS):
                if self.must_wait(pod.namespace):
                    await self._settled.wait()
                if dataplane := self._dataplane:
                    await self._do(lambda wish: dataplane.pod_added(wish, pod), POD_SECONDS)
        except (NotAppliedError, TimeoutError) as error:
            if self.must_wait(pod.namespace):
                reason = self.detail or str(error) or "the node has no routes yet"
                raise CniError(TRY_LATER, f"the rules of {pod.namespace} can't be put in place yet", reason) from None
            log.warning("container %s starts without having been cleaned up for: %s", pod.container_id, error)

    async def pod_removed(self, address: str) -> None:
        """Take away what is there for `address`; a failure is for the next refresh to put right."""
        self._changed()
        dataplane = self._dataplane
        if dataplane is None:
            return
        try:
            await self._do(lambda wish: dataplane.pod_removed(wish, address), POD_SECONDS)
        except NotAppliedError as error:
            log.warning("%s can't be cleaned up after now: %s", address, error)
        # By then its interface should be gone, and what shuts it in can go too.
        self._due_at = min(self._due_at, asyncio.get_running_loop().time() + TIDY_SECONDS)
        self._wake.set()

    async def close(self) -> None:
        """Let go of the kernel, which stays as it is."""
        self._turn_deaf()
        if dataplane := self._dataplane:
            try:
                await self._do(lambda _wish: dataplane.close(), POD_SECONDS)
            except NotAppliedError as error:
                log.warning("the data plane didn't close: %s", error)

    def _started(self, wish: Wish) -> Dataplane:
        """Return the data plane, opened and started."""
        dataplane = self._open_dataplane()
        try:
            dataplane.start(wish)
        except BaseException:
            dataplane.close()
            raise
        return dataplane

    def _wish(self) -> Wish:
        table = self.table
        assert table is not None  # who asks for a wish has looked
        return Wish(
            settings=table.settings,
            private_interface=self._config.private_interface,
            private_address=self._config.private_address,
            ordinal=table.ordinal,
            routes=self._routes(),
            pods=self._containers.pods,
            suspect=self._judgement.suspect,
            dead=self._judgement.dead,
            resting=self._judgement.resting,
        )

    def _routes(self) -> Mapping[str, Route]:
        """Return the table's routes by namespace."""
        return self._index()[0]

    def _index(self) -> tuple[Mapping[str, Route], Mapping[str, Route]]:
        """Return the table's routes by namespace and by gateway; built once a table, for there can be many."""
        table = self.table
        if table is not self._indexed[0]:
            routes = table.routes if table else ()
            by_gateway = {gateway.id: route for route in routes for gateway in route.gateways}
            by_namespace = {route.namespace: route for route in routes}
            self._indexed = table, MappingProxyType(by_namespace), MappingProxyType(by_gateway)
        return self._indexed[1:]

    async def _do(self, call: Callable[[Wish], T], seconds: float) -> T:
        """Run `call` on the present wish in the data plane's thread; every way to fail becomes NotAppliedError."""
        wish = self._wish()
        done = self._worker.submit(lambda: call(wish))
        try:
            async with asyncio.timeout(seconds):
                return await done
        except TimeoutError:
            raise NotAppliedError(f"not done after {seconds:g} s") from None
        except Exception as error:  # netlink, nft and the kernel fail in many types
            raise NotAppliedError(f"{type(error).__name__}: {error}") from error

    def _tell(self, status: Literal["ok", "failed"], detail: str) -> None:
        detail = detail[:1000]
        # One line an event: the same failure again isn't one.
        if (status, detail) != (self.status, self.detail):
            log.log(logging.INFO if status == "ok" else logging.ERROR, "data plane %s %s", status, detail)
        self.status = status
        self.detail = detail
        if status == "ok":
            self._settled.set()
        else:
            self._settled.clear()
        self._changed()
