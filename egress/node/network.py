"""Know whether packets can be steered on this node's container network: when to send canaries, and what follows."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from egress.netkit.errors import DataplaneError

from . import canary
from .cni_chain import ChainError, read_network
from .cni_protocol import TRY_LATER, UNSUPPORTED_NETWORK, CniError
from .config import Config
from .doubts import Doubts, Ids
from .state import write_atomic
from .worker import Worker

log = logging.getLogger(__name__)
#: Between two looks at the configuration of the network.
LOOK_SECONDS = 10.0
#: Between two canaries, while all is well and while it isn't.
REST_SECONDS = 3600.0
RETRY_SECONDS = 60.0
#: How long an ADD waits for the first verdict: less than the plugin waits for the agent.
PERMIT_SECONDS = 4.0
#: How long the end of the agent waits for a canary to be taken down.
CLOSE_SECONDS = 3.0

Standing = Literal["unknown", "supported", "unsupported"]
DataplaneStatus = Literal["ok", "starting", "unsupported", "failed"]


def reported(status: DataplaneStatus, detail: str, standing: Standing, reason: str) -> tuple[DataplaneStatus, str]:
    """Return what a report says of the data plane: its own `status`, and how its network stands."""
    if status == "failed":
        return status, detail
    if standing == "unsupported":
        return "unsupported", reason[:1000]
    if status == "ok" and standing == "unknown":
        return "starting", reason[:1000]
    return status, detail


class NetworkCheck:
    """Send canaries: at the start, when the network's configuration changes, and now and then.

    `changed` is called after every change of the verdict; `present` returns the ids of the containers there are. What
    was found supported stays so over a restart of the agent
    until a canary says otherwise: a node whose addresses are used up can't send one.
    """

    def __init__(self, config: Config, changed: Callable[[], None], present: Callable[[], Ids]) -> None:
        self._config = config
        self._changed = changed
        self._present = present
        self._doubts = Doubts(Path(config.run_dir, "doubts"))
        #: The containers that were there when the network was last known to be the one that is supported.
        self._good: Ids = frozenset()
        self._worker = Worker("canary")
        self._known = asyncio.Event()
        self._passed_file = Path(config.run_dir, "canary")
        self._under_way: asyncio.Future[tuple[str, str]] | None = None
        #: The digest of the network that the latest canary was to go through.
        self._tried = ""
        #: The digest of the network that the latest canary came through.
        self._passed = ""
        self.standing: Standing = "unknown"
        self.reason = "no canary was sent through the containers' network yet"
        if not config.canary:
            self.standing, self.reason = "supported", ""
            self._known.set()

    async def run(self) -> None:
        """Send canaries until cancelled."""
        if not self._config.canary:
            log.warning("canary is off in the configuration: nobody has seen that this node's network is supported")
            await asyncio.Event().wait()
        self._recall(await self._digest())
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            digest = await self._digest()
            if self.standing == "supported" and digest == self._passed:
                self._good = self._present()
            if loop.time() >= due or digest != self._tried:
                self._tried = digest
                await self._send()
                due = loop.time() + (REST_SECONDS if self.standing == "supported" else RETRY_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Let a canary that is under way come home, for a while; the next start finds what is left of it."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way], timeout=CLOSE_SECONDS)

    def in_doubt(self) -> Ids:
        """Return the ids of containers whose packets may go past all rules: the network was unsupported, or is."""
        return self._doubts.among(self._present())

    async def came(self, container: str) -> bool:
        """Say whether the network by which `container` comes is known to bring packets to our rules.

        If so it isn't in doubt, whatever becomes of the network later.
        """
        if self.standing != "supported" or not await self._is_proven():
            return False
        self._good |= {container}
        return True

    async def permit(self, container: str, namespace: str) -> None:
        """Return when a `container` of `namespace`, which must not start without its rules, may start.

        Raises CniError.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(PERMIT_SECONDS):
                await self._known.wait()
        if await self.came(container):
            return
        code = UNSUPPORTED_NETWORK if self.standing == "unsupported" else TRY_LATER
        message = f"{namespace} has dedicated egress, and this node's network isn't known to allow that"
        raise CniError(code, message, self.reason or "its configuration has changed, and no canary came through it yet")

    async def _is_proven(self) -> bool:
        """Say whether the network that a container would get now is the one that carried a canary."""
        return not self._config.canary or await self._digest() == self._passed

    async def _digest(self) -> str:
        """Return what names the network's configuration; "" while there is none that can be used."""
        try:
            network = await asyncio.to_thread(read_network, Path(self._config.cni_conf_dir))
        except ChainError:
            return ""
        return network.digest

    def _recall(self, digest: str) -> None:
        """Take over the verdict of the agent that ran before, where the network is still the same."""
        with suppress(OSError, UnicodeDecodeError):
            if digest and digest == self._passed_file.read_text("ascii"):
                self._passed = digest
                self._settle("supported", "")

    async def _send(self) -> None:
        try:
            digest, reason = await self._one()
            if reason and self.standing == "supported":
                # One lost canary takes nothing from a network that carried others.
                digest, reason = await self._one()
        except (ChainError, DataplaneError, OSError, ValueError) as error:
            self._fail(str(error))
            return
        self._passed = "" if reason else digest
        self._settle("unsupported" if reason else "supported", reason)
        with suppress(OSError):
            if reason:
                self._passed_file.unlink(missing_ok=True)
            else:
                write_atomic(self._passed_file, digest.encode("ascii"), durable=False)

    async def _one(self) -> tuple[str, str]:
        self._under_way = self._worker.submit(lambda: canary.send(self._config))
        # Cancelling this task must not drop it: `close` waits for it.
        return await asyncio.shield(self._under_way)

    def _fail(self, trouble: str) -> None:
        """Note that nothing could be told; what was known before stays."""
        text = f"no canary can be sent through the containers' network: {trouble}"
        if text != self.reason:
            log.warning("%s", text)
        if self.standing == "unknown":
            self.reason = text
            self._changed()

    def _settle(self, standing: Standing, reason: str) -> None:
        news = (standing, reason) != (self.standing, self.reason)
        self.standing, self.reason = standing, reason
        if standing == "supported":
            self._doubts.end(self._present())
        else:
            self._doubts.begin(self._good)
        self._known.set()
        if news:
            level = logging.ERROR if reason else logging.INFO
            log.log(level, "the containers' network is %s%s", standing, f": {reason}" if reason else "")
            self._changed()
