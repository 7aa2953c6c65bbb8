"""What the agent keeps on disk, so that it can work without the control plane and after any crash."""

import fcntl
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from egress.wire.codec import Bounds, Identifier, WireError, decode, encode
from egress.wire.messages import MAX_REPLY_BYTES, MAX_ROUTES, NodeSync
from egress.wire.tokens import Tokens

from .judge import Verdict
from .routes import listed
from .system import boot_id

log = logging.getLogger(__name__)
T = TypeVar("T")
_HEADER = re.compile(r"#\S* \d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What was known of gateways, by id, in the boot `boot_id` of the node."""

    boot_id: Identifier
    gateways: Annotated[dict[Identifier, Verdict], Bounds(0, 2 * MAX_ROUTES)]


class StateError(Exception):
    """The state directory can't be used."""


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `content`, mode 0600: a crash at any moment leaves the old file or the new one.

    With `durable` that also holds for a power loss. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _lock(path: Path) -> int:
    """Return a descriptor that holds `path` locked; the kernel lets go of the lock when its process ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class State:
    """The state directory: the node's credential, the route table, and the list of namespaces for the plugin.

    Only one agent may hold it; a second one gets StateError.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(directory / "lock")
        except BlockingIOError:
            raise StateError(f"{directory}: another node agent runs on it; stop that one first") from None
        except OSError as error:
            raise StateError(f"{directory}: {error.strerror}") from None
        #: Why the control plane's routes aren't followed; "" while they are.
        self.trouble = ""
        self.credential = self._read("credential.json", Tokens)
        self.table = self._read("routes.json", NodeSync)
        self.listed = self._read_namespaces()
        if self.table is not None and self.listed != listed(self.table):
            self._write_namespaces(listed(self.table), self.table)

    def save_credential(self, credential: Tokens) -> None:
        """Keep the node's credential; only root can read it."""
        write_atomic(self._directory / "credential.json", encode(credential))
        self.credential = credential

    def verdicts(self) -> dict[str, Verdict]:
        """Return what an agent that ran before, in this boot of the node, knew of gateways."""
        kept = self._read("verdicts.json", Verdicts)
        return kept.gateways if kept and kept.boot_id == boot_id() else {}

    def save_verdicts(self, gateways: Mapping[str, Verdict]) -> None:
        """Keep what is known of gateways, for an agent that starts anew in this boot of the node."""
        content = encode(Verdicts(boot_id=boot_id(), gateways=dict(gateways)))
        write_atomic(self._directory / "verdicts.json", content, durable=False)

    def save_table(self, table: NodeSync) -> None:
        """Keep `table`, and the plugin's list in such an order that no crash leaves a namespace off it.

        Where there was no list, one is written even if it is empty: from then on the plugin knows who needn't wait.
        """
        wanted, had = listed(table), self.listed or frozenset()
        if wanted - had:
            self._write_namespaces(wanted | had, table)
        write_atomic(self._directory / "routes.json", encode(table))
        self.table = table
        if self.listed != wanted:
            self._write_namespaces(wanted, table)

    def must_wait(self, namespace: str) -> bool:
        """Return whether a container of `namespace` must not start without its rules.

        Before the first sync, and with a damaged list, any might have some; what has no name can't.
        """
        return bool(namespace) and (self.listed is None or namespace in self.listed)

    def close(self) -> None:
        """Let another agent have the directory."""
        os.close(self._lock)

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self._directory / name
        try:
            with path.open("rb") as file:
                return decode(kind, file.read(MAX_REPLY_BYTES * 2))
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            log.error("%s is damaged, starting without it: %s", path, error)  # noqa: TRY400 - no fault of the program
            return None

    def _read_namespaces(self) -> frozenset[str] | None:
        """Return the plugin's list; None when there is none yet, or a damaged one."""
        path = self._directory / "namespaces"
        try:
            lines = path.read_text("ascii").split("\n")
        except FileNotFoundError:
            log.warning("%s isn't there yet: no container starts before the first sync", path)
            return None
        except (OSError, UnicodeDecodeError) as error:
            lines = [str(error)]
        if not _HEADER.fullmatch(lines[0]) or lines[-1] != "":
            log.error("%s is damaged: no container starts until the control plane answers", path)
            return None
        return frozenset(lines[1:-1])

    def _write_namespaces(self, namespaces: Iterable[str], table: NodeSync) -> None:
        """Write the list; its first line names the revision that last changed it."""
        lines = [f"#{table.epoch} {table.revision}", *sorted(namespaces), ""]
        write_atomic(self._directory / "namespaces", "\n".join(lines).encode("ascii"))
        self.listed = frozenset(lines[1:-1])
