"""The app's history in the customer's words. Pure; what has no words here isn't told."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from egress.control.models import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened. `tone` is ok, bad or "", and the CSS class."""

    at: datetime
    text: str
    tone: str = ""


#: {(subject, new status): words}; None is any. {gateway}, {who}, {old} and {new} are filled in.
_WORDS: dict[tuple[str, str | None], str] = {
    ("egress.enable", ""): "Dedicated egress switched on {who}",
    ("egress.disable", ""): "Dedicated egress switched off {who}",
    ("egress.retry", ""): "Another try started {who}",
    ("egress.on_outage", "reject"): "Set to block traffic if both gateways are down {who}",
    ("egress.on_outage", "shared"): "Set to use shared addresses if both gateways are down {who}",
    ("assignment.status", "distributing"): "Both gateways are ready, your app's traffic is moving to them",
    ("assignment.status", "active"): "Dedicated egress active",
    ("assignment.status", "draining"): "New connections use shared addresses, open ones are finishing",
    ("assignment.status", "releasing"): "The addresses are being released",
    ("assignment.status", "released"): "Addresses released",
    ("assignment.status", "error"): "Setting up failed",
    ("gateway.status", "ready"): "{gateway} is ready",
    ("gateway.status", "draining"): "{gateway} takes no new connections, open ones are finishing",
    ("gateway.status", "maintenance"): "{gateway} is being worked on",
    ("gateway.status", "deleted"): "{gateway} is gone",
    ("gateway.status", "error"): "{gateway} failed",
    ("assignment.standing", "outage"): "Neither gateway can be used",
    ("assignment.standing", "degraded"): "New connections use one gateway alone",
    ("assignment.standing", "maintenance"): "Planned work on a gateway begins, new connections use the other one",
    ("assignment.standing", "whole"): "Both gateways are in use again",
    ("address.lost", ""): "{gateway} lost its server: take {old} out of firewalls",
    ("gateway.replaced", None): "{gateway} has a new address: {new} instead of {old}. Update your firewalls",
    ("gateway.health", "unhealthy"): "{gateway} stopped answering",
    ("gateway.health", "healthy"): "{gateway} answers again",
    ("gateway.repair", "power_cycle"): "Repair: {gateway} is restarted, its address stays",
    ("gateway.repair", "rebuild"): "Repair: {gateway} is set up afresh, its address stays",
    ("gateway.repair", "replace"): "Repair: {gateway} gets a new server, and with it a new address",
    ("gateway.repair", "exhausted"): "{gateway} couldn't be repaired automatically, our engineers look into it",
}
_GOOD = {
    ("assignment.status", "active"),
    ("gateway.status", "ready"),
    ("gateway.health", "healthy"),
    ("assignment.standing", "whole"),
}
_BAD = {
    ("assignment.status", "error"),
    ("assignment.standing", "outage"),
    ("gateway.status", "error"),
    ("gateway.health", "unhealthy"),
    ("address.lost", ""),
}


def timeline(events: Iterable[Event]) -> tuple[Entry, ...]:
    """Tell the events that have words, in the order given. Events come with `actor` and `gateway` loaded."""
    return tuple(entry for event in events if (entry := _entry(event)))


def _entry(event: Event) -> Entry | None:
    key = (event.subject, event.new)
    words = _WORDS.get(key) or _WORDS.get((event.subject, None))
    if words is None or (event.subject == "gateway.health" and event.old == "unknown"):
        return None
    gateway = f"Gateway {'AB'[event.gateway.slot]}" if event.gateway else "A gateway"
    tone = "ok" if key in _GOOD else "bad" if key in _BAD else ""
    return Entry(
        at=event.at,
        text=words.format(gateway=gateway, who=_who(event), old=event.old, new=event.new).strip(),
        tone=tone,
    )


def _who(event: Event) -> str:
    """Name a teammate; a token's use is told as such, whoever made it, and the platform's people stay unnamed."""
    if event.reason or event.actor is None:
        return event.reason
    return "by support" if event.actor.is_staff else f"by {event.actor.email}"
