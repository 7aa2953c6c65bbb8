"""DigitalOcean as a Provider: Droplets, by way of pydo. Nothing else in this project knows pydo.

Nothing is retried in here, neither by pydo nor by us: reconcile knows when to call again, and a retried creation
would be a second Droplet. What pydo and the layers under it raise stops here; see `digitalocean_http`.
"""

import ipaddress
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from math import ceil
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args
from urllib.parse import urlsplit

from .base import (
    AccessRefused,
    ActionStatus,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Server,
    ServerSpec,
    ServerStatus,
    Unavailable,
)

API_URL = "https://api.digitalocean.com"
CONNECT_TIMEOUT_SECONDS = 5
#: Per read; `MAX_ANSWER_SECONDS` bounds all reads of one answer together.
READ_TIMEOUT_SECONDS = 15
MAX_ANSWER_SECONDS = 30
#: 200 Droplets are about 600 KB.
MAX_ANSWER_BYTES = 8 * 1024 * 1024
PER_PAGE = 200
MAX_PAGES = 50
#: How often a list is read again when it changed between two of its pages.
LIST_ATTEMPTS = 3
MAX_USER_DATA_BYTES = 64 * 1024

_TAG = re.compile(r"[a-zA-Z0-9_\-:]{1,255}")
_TOKEN = re.compile(r"[!-~]{1,1000}")
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")
_ID = re.compile(r"[1-9][0-9]{0,17}")

T = TypeVar("T")
#: Told of every call that was made: "ok" or the error's code; the requests left this hour, and all; None: not said.
Answered: TypeAlias = Callable[[str, int | None, int | None], None]


class _ListChangedError(Exception):
    """The list changed between two of its pages."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that pydo holds for success: 2xx, but also 404 on some operations."""

    status: int
    body: Any


class DigitalOcean:
    """A DigitalOcean account, reached with `token`; keeps its connection until `close`. For one thread at a time.

    `ca_file` is the PEM bundle to trust; "" means the system's. Server ids are Droplet ids in decimal, vpc ids are
    VPC UUIDs. Droplets are made without SSH keys, monitoring and Droplet agent: nobody logs in to a gateway, and
    nothing may be downloaded at its boot.
    """

    def __init__(
        self, token: str, *, api_url: str = API_URL, ca_file: str = "", answered: Answered = lambda *_: None
    ) -> None:
        parts = urlsplit(api_url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"DigitalOcean's API must be at https://host[:port], not at {api_url!r}")
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._ca_file = ca_file
        self._answered = answered
        #: What the last answer said of the hourly limit: requests left, and all.
        self._left: tuple[int | None, int | None] = None, None
        self._client: Any = None
        self._opened_by = 0
        #: Monotonic time until which DigitalOcean asked not to be called.
        self._held_until = 0.0

    def close(self) -> None:
        """Drop the connection; the next call opens a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def create_or_adopt(self, spec: ServerSpec, *, tag: str) -> Server:
        """Return the oldest Droplet that bears `tag`, or create one from `spec`; see Provider."""
        if tag not in spec.tags:
            raise Rejected(f"create {spec.name}: its tags lack {tag!r}, by which it would be found again")
        body = _create_body(spec)
        existing = self.list_by_tag(tag)
        return existing[0] if existing else self._create(spec.name, body, secret=spec.user_data)

    def get(self, server_id: str) -> Server:
        """Return one Droplet. Raises NotFound."""
        doing = f"get Droplet {server_id}"
        droplet_id = _number(server_id, doing)
        answer = self._call(doing, lambda api, **how: api.droplets.get(droplet_id, **how))
        return _read(doing, lambda: _server(answer.body["droplet"]))

    def neighbours(self, server_id: str) -> frozenset[str]:
        """Return the ids of the account's other Droplets on the same host. Raises NotFound."""
        doing = f"list neighbours of Droplet {server_id}"
        droplet_id = _number(server_id, doing)
        answer = self._call(doing, lambda api, **how: api.droplets.list_neighbors(droplet_id, **how))
        return _read(doing, lambda: frozenset(str(int(droplet["id"])) for droplet in answer.body["droplets"]))

    def list_by_tag(self, tag: str) -> list[Server]:
        """Return all Droplets that bear `tag`, oldest first; at most 10,000."""
        if not _TAG.fullmatch(tag):
            # Without a tag DigitalOcean lists the whole account.
            raise Rejected(f"list Droplets: {tag!r} is no tag: letters, digits, colons, dashes, underscores only")
        for _ in range(LIST_ATTEMPTS):
            try:
                return self._list(tag)
            except _ListChangedError:
                continue
        raise Unavailable(f"list Droplets tagged {tag}: the list kept changing while it was read; try again")

    def delete(self, server_id: str) -> None:
        """Destroy one Droplet; one that is already gone is no error."""
        doing = f"delete Droplet {server_id}"
        droplet_id = _number(server_id, doing)
        self._call(doing, lambda api, **how: api.droplets.destroy(droplet_id, **how), missing_is_fine=True)

    def reboot(self, server_id: str) -> str:
        """Let the system end and start again; returns the action's id. Raises NotFound."""
        return self._act(server_id, {"type": "reboot"})

    def power_cycle(self, server_id: str) -> str:
        """Cut power and start again; returns the action's id. Raises NotFound."""
        return self._act(server_id, {"type": "power_cycle"})

    def power_off(self, server_id: str) -> str:
        """Cut power; returns the action's id. Raises NotFound."""
        return self._act(server_id, {"type": "power_off"})

    def power_on(self, server_id: str) -> str:
        """Start; returns the action's id. Raises NotFound."""
        return self._act(server_id, {"type": "power_on"})

    def rebuild(self, server_id: str, *, image: str) -> str:
        """Lay `image` anew on the same Droplet; returns the action's id. Raises NotFound."""
        return self._act(server_id, {"type": "rebuild", "image": image})

    def image_regions(self, image: str) -> frozenset[str]:
        """Return the regions that have an image, by its slug or number. Raises NotFound."""
        doing = f"get image {image}"
        if not _IMAGE.fullmatch(image):
            raise Rejected(f"{doing}: an image is named by its slug or number")
        answer = self._call(doing, lambda api, **how: api.images.get(image, **how))
        return _read(doing, lambda: frozenset(map(str, answer.body["image"]["regions"])))

    def action_status(self, server_id: str, action_id: str) -> ActionStatus:
        """Return how far an action got. Raises NotFound."""
        doing = f"get action {action_id} of Droplet {server_id}"
        droplet, action = _number(server_id, doing), _number(action_id, doing)
        answer = self._call(doing, lambda api, **how: api.droplet_actions.get(droplet, action, **how))
        return _read(doing, lambda: cast(ActionStatus, _one_of(ActionStatus, answer.body["action"]["status"])))

    def _create(self, name: str, body: dict[str, Any], *, secret: str) -> Server:
        doing = f"create {name}"
        answer = self._call(
            doing,
            lambda api, **how: api.droplets.create(body=body, **how),
            repeatable=False,
            missing=Rejected,
            secret=secret,
        )
        # A garbled "accepted" is an acceptance all the same.
        return _read(doing, lambda: _server(answer.body["droplet"]), otherwise=OutcomeUnknown)

    def _act(self, server_id: str, body: dict[str, Any]) -> str:
        doing = f"{body['type']} Droplet {server_id}"
        droplet_id = _number(server_id, doing)
        answer = self._call(
            doing, lambda api, **how: api.droplet_actions.post(droplet_id, body=body, **how), repeatable=False
        )
        return _read(doing, lambda: str(int(answer.body["action"]["id"])), otherwise=OutcomeUnknown)

    def _list(self, tag: str) -> list[Server]:
        found: dict[str, Server] = {}
        totals = set()
        for page in range(1, MAX_PAGES + 1):
            servers, total, last = self._page(tag, page)
            totals.add(total)
            if len(totals) > 1 or any(server.id in found for server in servers):
                # What was created or destroyed meanwhile moved others from page to page, past our eyes.
                raise _ListChangedError
            found.update((server.id, server) for server in servers)
            if last:
                return sorted(
                    (server for server in found.values() if _bears(server, tag)),
                    key=lambda server: (datetime.fromisoformat(server.created_at), int(server.id)),
                )
        raise Rejected(f"list Droplets tagged {tag}: more than {PER_PAGE * MAX_PAGES}; use a narrower tag")

    def _page(self, tag: str, page: int) -> tuple[list[Server], int, bool]:
        """Return one page of a list, how many there are in all, and whether it is the last page."""
        doing = f"list Droplets tagged {tag}"
        answer = self._call(
            doing, lambda api, **how: api.droplets.list(tag_name=tag, per_page=PER_PAGE, page=page, **how)
        )
        return _read(
            doing,
            lambda: (
                [_server(droplet) for droplet in answer.body["droplets"]],
                int(answer.body["meta"]["total"]),
                "next" not in ((answer.body.get("links") or {}).get("pages") or {}),
            ),
        )

    def _call(
        self,
        doing: str,
        operation: Callable[..., _Answer],
        *,
        repeatable: bool = True,
        missing: type[ProviderError] = NotFound,
        missing_is_fine: bool = False,
        secret: str = "",
    ) -> _Answer:
        """Run `operation` once and return its answer.

        `repeatable`: calling again does no harm, so that a broken connection is merely Unavailable. `secret` is
        kept out of what is raised, like the token. Raises ProviderErrors only.
        """
        from .digitalocean_http import FAILURES, Context, own_not_found, translate  # noqa: PLC0415 - brings pydo's stack along

        self._refuse_while_held(doing)
        context = Context(doing=doing, repeatable=repeatable, missing=missing, secrets=(self._token, secret))
        try:
            answer = operation(
                self._api(),
                cls=lambda pipeline, body, _headers: _Answer(pipeline.http_response.status_code, body),
                connection_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                retry_total=0,
                permit_redirects=False,
            )
        except FAILURES as error:
            failure = translate(error, context)
            if isinstance(failure, RateLimited):
                self._held_until = time.monotonic() + failure.retry_after_seconds
            self._answered(failure.code, *self._left)
            # Without its cause: that one may hold the request with token and user data.
            raise failure from None
        self._answered("ok", *self._left)
        if answer.status == HTTPStatus.NOT_FOUND:
            if not own_not_found(answer.body):
                raise Unavailable(f"{doing}: got a 404 that isn't DigitalOcean's; check DIGITALOCEAN_API_URL")
            if not missing_is_fine:
                raise missing(f"{doing}: DigitalOcean has no such thing")
        return answer

    def _refuse_while_held(self, doing: str) -> None:
        wait = ceil(self._held_until - time.monotonic())
        if wait > 0:
            raise RateLimited(f"{doing}: not sent, DigitalOcean asked to wait {wait} s more", wait)

    def _note_limit(self, response: Any, **_: object) -> None:
        left, limit = (response.headers.get(f"ratelimit-{name}") for name in ("remaining", "limit"))
        self._left = _whole(left), _whole(limit)

    def _api(self) -> Any:
        # A fork must not speak on its parent's connection: their requests would mingle.
        if self._client is None or self._opened_by != os.getpid():
            self._client, self._opened_by = self._open(), os.getpid()
        return self._client

    def _open(self) -> Any:
        if not _TOKEN.fullmatch(self._token):
            raise AccessRefused("the DigitalOcean token is missing or malformed: set DIGITALOCEAN_TOKEN")
        if self._ca_file and not Path(self._ca_file).is_file():
            raise Unavailable(f"the CA bundle {self._ca_file} is missing: set DIGITALOCEAN_CA_FILE")
        # pydo takes 0.15 to 2 s and 70 MB to import: only those pay who call the API.
        import pydo  # noqa: PLC0415 - see above
        from azure.core.pipeline.policies import SansIOHTTPPolicy  # noqa: PLC0415 - see above
        from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415 - see above

        from .digitalocean_http import BoundedSession  # noqa: PLC0415 - see above

        session = BoundedSession(max_bytes=MAX_ANSWER_BYTES, max_seconds=MAX_ANSWER_SECONDS)
        session.hooks["response"].append(self._note_limit)
        return pydo.Client(
            self._token,
            endpoint=self._api_url,
            transport=RequestsTransport(session=session, connection_verify=self._ca_file or True),
            # azure-core logs a dozen lines per request at the level INFO; reconcile says what matters.
            http_logging_policy=SansIOHTTPPolicy(),
        )


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch("[0-9]{1,9}", text) else None


def _create_body(spec: ServerSpec) -> dict[str, Any]:
    """Return the body of the request that creates `spec`. Raises Rejected for what no Droplet can have."""
    size = len(spec.user_data.encode(errors="replace"))
    if size > MAX_USER_DATA_BYTES:
        raise Rejected(f"create {spec.name}: its user data has {size} bytes, {MAX_USER_DATA_BYTES} are allowed")
    if not all(_TAG.fullmatch(tag) for tag in spec.tags):
        raise Rejected(f"create {spec.name}: tags may hold letters, digits, colons, dashes and underscores only")
    return {
        "name": spec.name,
        "region": spec.region,
        "size": spec.size,
        "image": spec.image,
        "user_data": spec.user_data,
        "vpc_uuid": spec.vpc_id,
        "tags": list(spec.tags),
        "ssh_keys": [],
        "backups": False,
        "ipv6": False,
        "monitoring": False,
        "with_droplet_agent": False,
    }


def _number(text: str, doing: str) -> int:
    """Return a Droplet's or action's number. An empty one must not turn into a request for all of them."""
    if not _ID.fullmatch(text):
        raise Rejected(f"{doing}: {text!r} is no id of DigitalOcean's")
    return int(text)


def _read(doing: str, parse: Callable[[], T], *, otherwise: type[ProviderError] = Unavailable) -> T:
    """Return what `parse` finds in an answer, or raise `otherwise` where it isn't what the API promises."""
    try:
        return parse()
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise otherwise(f"{doing}: DigitalOcean's answer lacks what it should have ({type(error).__name__})") from None


def _server(droplet: Any) -> Server:
    networks = droplet["networks"]["v4"]
    created_at = str(droplet["created_at"])
    if datetime.fromisoformat(created_at).tzinfo is None:
        raise ValueError(created_at)
    return Server(
        id=str(int(droplet["id"])),
        name=str(droplet["name"]),
        status=cast(ServerStatus, _one_of(ServerStatus, droplet["status"])),
        public_address=_address(networks, "public"),
        private_address=_address(networks, "private"),
        tags=tuple(map(str, droplet["tags"])),
        created_at=created_at,
    )


def _address(networks: Any, kind: Literal["public", "private"]) -> str | None:
    address = next((network["ip_address"] for network in networks if network["type"] == kind), None)
    return None if address is None else str(ipaddress.IPv4Address(address))


def _one_of(literal: Any, value: object) -> object:
    if value not in get_args(literal):
        raise ValueError(value)
    return value


def _bears(server: Server, tag: str) -> bool:
    # DigitalOcean keeps the case in which a tag was first written, and ignores case in searches.
    return tag.lower() in map(str.lower, server.tags)
