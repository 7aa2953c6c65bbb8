"""Follow the cluster's route table: join once, then poll; every poll acknowledges what was applied before it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from egress import __version__
from egress.wire.codec import WireError
from egress.wire.http import ControlPlaneError, Refused
from egress.wire.messages import NodeJoin, NodeJoined, NodeSync, NodeSyncRequest
from egress.wire.tokens import Tokens

from .config import Config
from .link import Backoff, Link
from .routes import merge
from .state import State
from .steward import NotAppliedError
from .system import boot_id

log = logging.getLogger(__name__)
WAIT_SECONDS = 30
#: The control plane's answer may take this long beyond the wait asked for.
GRACE_SECONDS = 10
#: An answer without news that came faster than this wasn't a long poll.
HASTE_SECONDS = 1.0

NOTHING = ("", 0)


class Sync:
    """Keep `state.table` abreast of the control plane; `apply` stores a table and brings it about."""

    def __init__(
        self, config: Config, state: State, link: Link, apply: Callable[[NodeSync], Awaitable[None]], *, applied: bool
    ) -> None:
        self._config = config
        self._state = state
        self._link = link
        self._apply = apply
        #: The control plane refused the credential as it stands, and, before that, the token in use.
        self._rejected = self._swapped = False
        #: Set once the control plane has answered, and what it said is applied.
        self.abreast = asyncio.Event()
        table = state.table
        #: Epoch and revision that the next poll acknowledges: never one that is only on disk.
        self._applied = (table.epoch, table.revision) if table and applied else NOTHING

    @property
    def applied_revision(self) -> int:
        """The revision that the next poll acknowledges."""
        return self._applied[1]

    async def run(self) -> None:
        """Follow until cancelled."""
        backoff = Backoff()
        while True:
            try:
                await self._step()
            except (ControlPlaneError, WireError, NotAppliedError, OSError) as error:
                # One line an event: the same trouble again isn't one.
                if str(error) != self._state.trouble:
                    log.warning("no sync, the last routes known stay in force: %s", error)
                self._state.trouble = str(error)
                await asyncio.sleep(backoff.next())
            else:
                if self._state.trouble:
                    log.info("in sync again at revision %d", self._applied[1])
                self._state.trouble = ""
                backoff.reset()

    async def _step(self) -> None:
        if self._state.credential is None or self._rejected:
            await self._join()
        began = asyncio.get_running_loop().time()
        news = await self._poll()
        taken = await self._take(news)
        first = not self.abreast.is_set()
        self.abreast.set()
        if not taken and not first and asyncio.get_running_loop().time() - began < HASTE_SECONDS:
            await asyncio.sleep(HASTE_SECONDS)

    async def _join(self) -> None:
        path = Path(self._config.join_token_file)
        try:
            token = (await asyncio.to_thread(path.read_text, "ascii")).strip()
        except UnicodeDecodeError:
            raise OSError(f"{path} holds no join token") from None
        message = NodeJoin(
            name=self._config.name,
            private_address=self._config.private_address,
            boot_id=boot_id(),
            agent_version=__version__,
        )
        try:
            joined = await self._link.call("nodes/join", message, NodeJoined, token=token)
        except Refused as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise ControlPlaneError(
                    f"the join token in {path} isn't the cluster's: put the current one there"
                ) from error
            raise
        await asyncio.to_thread(self._state.save_credential, Tokens(token=joined.token))
        self._rejected = self._swapped = False
        log.info("joined as node %s", joined.node_id)

    async def _poll(self) -> NodeSync:
        credential = self._state.credential
        assert credential is not None  # _step has seen to it
        epoch, revision = self._applied
        # The first answer shall come at once, whether or not it brings news.
        wait = WAIT_SECONDS if self.abreast.is_set() else 0
        request = NodeSyncRequest(epoch=epoch, applied_revision=revision, wait_seconds=wait)
        try:
            news = await self._link.call(
                "nodes/sync", request, NodeSync, token=credential.token, timeout_seconds=wait + GRACE_SECONDS
            )
        except Refused as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                self._turn_from(credential)
            raise
        self._swapped = False
        if news.credential:
            await self._follow(credential, news.credential)
        return replace(news, credential="")

    def _turn_from(self, refused: Tokens) -> None:
        """Try the token before, then the join token.

        The file stays: should joining fail as well, a control plane that comes to its senses knows it still.
        """
        if refused.previous and not self._swapped:
            self._state.credential = refused.swapped()
            self._swapped = True
        else:
            self._rejected = True

    async def _follow(self, credential: Tokens, token: str) -> None:
        """Use `token` from now on, once it is on disk: whoever uses it can't go back to the old one."""
        try:
            await asyncio.to_thread(self._state.save_credential, credential.followed_by(token))
        except OSError as error:
            log.warning("the new credential can't be saved, so the old one stays in use: %s", error)
        else:
            log.info("going on with a new credential")

    async def _take(self, news: NodeSync) -> bool:
        """Apply `news`; return whether there were any."""
        try:
            table = merge(self._state.table, news)
        except WireError:
            self._applied = NOTHING
            raise
        at = table.epoch, table.revision
        if at == self._applied and table == self._state.table:
            return False
        await self._apply(table)
        self._applied = at
        log.info("revision %d of %s applied: %d routes", table.revision, table.epoch, len(table.routes))
        return True
