"""The containers of this node: who they are, and how they are found again after a restart.

The plugin's ADD and DEL tell of them as they come and go. What ADD told is also kept in files of the form of
libcni's result cache, in the agent's run directory: the runtime writes its own only after the whole chain is done,
and an agent killed between the two must not forget a container. After a restart both places are read.
"""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egress.netkit.desired import Pod

from .cni_protocol import CONTAINER_ID, INTERFACE, CniError, namespace_of, pod_from
from .netns import holds
from .state import write_atomic

log = logging.getLogger(__name__)
MAX_FILES = 4096
MAX_FILE_BYTES = 1024 * 1024
MAX_DELETED = 4096
_KIND = "cniCacheV1"

#: An attachment's identity in CNI: container id and the interface's name inside.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Attachment:
    """One container's interface on one network."""

    interface: str
    network: str
    pod: Pod

    @property
    def key(self) -> Key:
        """CNI's identity of it."""
        return self.pod.container_id, self.interface


class CacheReader:
    """A folder of libcni's result cache. A file is read again only when it has changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[tuple[int, int], Attachment | None]] = {}

    def scan(self) -> list[Attachment]:
        """Return what the folder's files tell, oldest first; those that can't be read are named in the log, once."""
        try:
            with os.scandir(self._directory) as entries:
                files = [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("%s: can't be read: %s", self._directory, error.strerror)
            return []
        if len(files) > MAX_FILES:
            log.warning("%s: %d files, reading only %d", self._directory, len(files), MAX_FILES)
        found = {}
        for entry in files[:MAX_FILES]:
            # FileNotFoundError: its container has gone meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found[entry.name] = self._look(entry)
        self._known = found
        return [attachment for _, attachment in sorted(found.values(), key=lambda item: item[0]) if attachment]

    def _look(self, entry: os.DirEntry[str]) -> tuple[tuple[int, int], Attachment | None]:
        status = entry.stat(follow_symlinks=False)
        stamp = status.st_mtime_ns, status.st_size
        if entry.name in self._known and self._known[entry.name][0] == stamp:
            return self._known[entry.name]
        try:
            with Path(entry.path).open("rb") as file:
                return stamp, parse_entry(file.read(MAX_FILE_BYTES + 1))
        except (ValueError, CniError) as error:
            log.warning("%s: passed over: %s", entry.path, error)
            return stamp, None


def parse_entry(content: bytes) -> Attachment:
    """Return the attachment that a file of libcni's cache tells of; raise ValueError or CniError."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
    try:
        entry = json.loads(content)
    except RecursionError as error:
        raise ValueError(error) from None
    if not isinstance(entry, dict) or entry.get("kind") != _KIND:
        raise ValueError(f"no cache entry of kind {_KIND}")
    container_id, interface, network = (str(entry.get(name, "")) for name in ("containerId", "ifName", "networkName"))
    if not CONTAINER_ID.fullmatch(container_id) or not INTERFACE.fullmatch(interface):
        raise ValueError("no container's id or interface's name in it")
    pod = pod_from(
        entry.get("result"),
        namespace=namespace_of(_arguments(entry.get("cniArgs"))),
        container_id=container_id,
        interface=interface,
        # Written by libcni from 1.2 on; before that the result's own "sandbox" says it.
        netns=str(entry.get("netns") or ""),
    )
    return Attachment(interface, network, pod)


def _arguments(pairs: Any) -> dict[str, str]:
    if not isinstance(pairs, list):
        return {}
    return {
        str(pair[0]): str(pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == len(("key", "value"))
    }


class Containers:
    """What is known of this node's containers. Not safe for threads, but for `look`, which touches nothing shared."""

    def __init__(self, *, cache: Path, journal: Path) -> None:
        journal.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._journal = journal
        self._folders = CacheReader(cache), CacheReader(journal)
        self._attachments: dict[Key, Attachment] = {}
        #: Attachments that DEL has ended: the runtime removes its cache file, and the namespace, only later.
        self._deleted: dict[Key, None] = {}

    @property
    def pods(self) -> dict[str, Pod]:
        """The containers that can be steered, by address; the latest where two claim one."""
        pods = (attachment.pod for attachment in self._attachments.values())
        return {pod.address: pod for pod in pods if pod.steerable}

    def ids(self) -> frozenset[str]:
        """Return the ids of all containers, on whatever network."""
        return frozenset(item.pod.container_id for item in self._attachments.values())

    def counts(self, among: Container[str] | None = None) -> Counter[str]:
        """Return the number of containers by namespace, on whatever network; one with two interfaces counts once.

        With `among`, only of containers with these ids.
        """
        ids = {(item.pod.namespace, item.pod.container_id) for item in self._attachments.values()}
        return Counter(namespace for namespace, key in ids if among is None or key in among)

    def get(self, key: Key) -> Attachment | None:
        """Return the attachment, None when it isn't known."""
        return self._attachments.get(key)

    def of_network(self, network: str) -> list[Key]:
        """Return the attachments to `network`."""
        return [key for key, item in self._attachments.items() if item.network == network]

    def add(self, attachment: Attachment, result: Mapping[str, Any]) -> None:
        """Remember `attachment`, also beyond this process; whoever had its address before is gone."""
        self._deleted.pop(attachment.key, None)
        self._claim(attachment)
        entry = {
            "kind": _KIND,
            "containerId": attachment.pod.container_id,
            "ifName": attachment.interface,
            "networkName": attachment.network,
            "netns": attachment.pod.netns,
            "cniArgs": [["K8S_POD_NAMESPACE", attachment.pod.namespace]],
            "result": result,
        }
        # Not durable: containers don't outlive a loss of power either.
        write_atomic(self._file(attachment.key), json.dumps(entry).encode(), durable=False)

    def remove(self, key: Key) -> Attachment | None:
        """Forget the attachment and return it; None when it wasn't known."""
        self._deleted[key] = None
        while len(self._deleted) > MAX_DELETED:
            del self._deleted[next(iter(self._deleted))]
        return self._drop(key)

    def known(self) -> tuple[Attachment, ...]:
        """Return all attachments."""
        return tuple(self._attachments.values())

    def look(self, known: tuple[Attachment, ...]) -> tuple[list[Attachment], list[Attachment]]:
        """Return what the files tell, latest last, and which of that, and of `known`, is no more.

        Reads files and enters namespaces: to be called in a thread of its own, and in one at a time.
        """
        found = [attachment for folder in self._folders for attachment in folder.scan()]
        gone = [attachment for attachment in {*found, *known} if not holds(attachment.pod)]
        return [attachment for attachment in found if attachment not in gone], gone

    def settle(self, found: Sequence[Attachment], gone: Iterable[Attachment]) -> bool:
        """Take over what `look` saw; return whether that changed anything."""
        before = dict(self._attachments)
        for attachment in gone:
            # Another one under the same key has come while we looked: that one stays.
            if self._attachments.get(attachment.key, attachment) == attachment:
                self._drop(attachment.key)
        for attachment in reversed(found):
            if attachment.key not in self._deleted and self._is_news(attachment):
                self._attachments[attachment.key] = attachment
        return self._attachments != before

    def _is_news(self, attachment: Attachment) -> bool:
        # What ADD told stands above a file that claims the same address.
        return attachment.key not in self._attachments and attachment.pod.address not in self.pods

    def _claim(self, attachment: Attachment) -> None:
        address = attachment.pod.address
        for key in [key for key, item in self._attachments.items() if address and item.pod.address == address]:
            self._drop(key)
        self._attachments[attachment.key] = attachment

    def _drop(self, key: Key) -> Attachment | None:
        self._file(key).unlink(missing_ok=True)
        return self._attachments.pop(key, None)

    def _file(self, key: Key) -> Path:
        return self._journal / "@".join(key)
