"""Agents' bearer tokens: only their hashes are kept, and they are replaced while in use.

A credential that is old enough is offered a successor in a sync reply. Both are valid until the new one is used, so
that neither a lost reply nor a crash on either side locks an agent out; then the old one is retired. Whoever presents
a retired one has a copy of it, or is the true agent that a copy has overtaken: operators are told.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from egress.control import clock, events
from egress.control.models import Event, Gateway, Node
from egress.wire.messages import MAX_WAIT_SECONDS
from portal.accounts.models import token_hash

Agent = TypeVar("Agent", Node, Gateway)
#: The columns of a row that nobody can speak for.
VOID: dict[str, Any] = {"token_hash": None, "next_token_hash": None, "retired_token_hash": None}
_PREFIX = {Node: "sgn_", Gateway: "sgg_"}
#: A poll that was given up still waits here, and presents what was retired meanwhile.
_GRACE = timedelta(seconds=2 * MAX_WAIT_SECONDS)


def new_token(kind: type[Node | Gateway]) -> str:
    """Return a fresh token for an agent of this kind."""
    return _PREFIX[kind] + secrets.token_urlsafe(32)


def issued(token: str, *, instead_of: Node | Gateway | None = None) -> dict[str, Any]:
    """Return the columns of a row whose one valid credential `token` is from now on; the other's is retired."""
    retired = instead_of.token_hash if instead_of else None
    return {**VOID, "token_hash": token_hash(token), "retired_token_hash": retired, "token_at": clock.unmoved()}


def known(rows: QuerySet[Agent], token: str) -> Agent | None:
    """Return the one of `rows` whose credential `token` is; the first use of an offered one retires the other."""
    return all_known(rows, [token])[0]


def all_known(rows: QuerySet[Agent], tokens: Sequence[str]) -> list[Agent | None]:
    """Return for each token what `known` returns, with one query for those that go on as they are.

    The same row is the same object, however many of the tokens are its own.
    """
    digests = [token_hash(token) for token in tokens]
    owned = Q(token_hash__in=digests) | Q(next_token_hash__in=digests, token_hash__isnull=False)
    owners: dict[str | None, Agent] = {}
    for row in rows.filter(owned):
        owners |= {row.next_token_hash: row, row.token_hash: row}
    return [_in_use(rows, owners.get(digest), digest) for digest in digests]


def _in_use(rows: QuerySet[Agent], row: Agent | None, digest: str) -> Agent | None:
    # One of the tokens before this may have retired it.
    if row is None or digest not in {row.token_hash, row.next_token_hash}:
        _tell_of_retired(rows, digest)
        return None
    if row.token_hash != digest:
        _take_over(row, digest)
    lifetime = timedelta(seconds=settings.AGENT_TOKEN_LIFETIME_SECONDS)
    return row if clock.unmoved() - row.token_at < lifetime else None


def offer(row: Node | Gateway) -> str:
    """Return a new token for `row`'s agent to go on with; "" while its present one is young.

    A later offer replaces one that wasn't used.
    """
    if clock.unmoved() - row.token_at < timedelta(seconds=settings.AGENT_TOKEN_RENEW_SECONDS):
        return ""
    token = new_token(type(row))
    # Not if the credential was replaced or made void since `row` was read.
    unchanged = type(row).objects.filter(pk=row.pk, token_hash=row.token_hash)
    return token if unchanged.update(next_token_hash=token_hash(token)) else ""


def _take_over(row: Agent, digest: str) -> None:
    retired, now = row.token_hash, clock.unmoved()
    offered = type(row).objects.filter(pk=row.pk, next_token_hash=digest)
    # Where it isn't offered any more, another request of the agent's has done this.
    offered.update(token_hash=digest, next_token_hash=None, retired_token_hash=retired, token_at=now)
    row.token_hash, row.next_token_hash, row.retired_token_hash, row.token_at = digest, None, retired, now


def _tell_of_retired(rows: QuerySet[Agent], digest: str) -> None:
    row = rows.filter(retired_token_hash=digest, token_at__lt=clock.unmoved() - _GRACE).first()
    if row is None:
        return
    with transaction.atomic():
        # Told once: who presents it again and again fills no table.
        if type(row).objects.filter(pk=row.pk, retired_token_hash=digest).update(retired_token_hash=None):
            subject = "node.credential" if isinstance(row, Node) else "gateway.credential"
            reason = (
                "a credential that was replaced is in use: the machine was restored or copied, or one of the two who "
                "know it is a stranger; remove the node, or rebuild the gateway, and look at who reads its disk"
            )
            events.record(Event.Kind.SECURITY, subject, on=row, new="retired, yet used", reason=reason)
