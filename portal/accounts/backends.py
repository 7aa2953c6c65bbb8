"""Refuse to check passwords that are tried too often, at every log-in there is: the pages' and the admin's."""

from typing import Any

from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest

from .limits import Limit, network_of

#: A person who mistypes, and an office behind one address; beyond that somebody is guessing.
PER_ACCOUNT = Limit("log-in-account", times=10, seconds=300)
PER_ADDRESS = Limit("log-in-address", times=60, seconds=300)


def wait_seconds(request: HttpRequest | None, username: str) -> int:
    """Return how long nobody may log in as `username` from where `request` comes from, 0 when they may."""
    account, address = _keys(request, username)
    return max(PER_ACCOUNT.wait_seconds(account), PER_ADDRESS.wait_seconds(address))


class PatienceBackend:
    """The first of the backends: it knows nobody (so it has no `get_user`), and keeps the others from being asked."""

    def authenticate(self, request: HttpRequest | None, username: str = "", **_credentials: Any) -> None:
        """Return None. Raises PermissionDenied when there were too many failures."""
        if wait_seconds(request, username):
            raise PermissionDenied


@receiver(user_login_failed, dispatch_uid="count-failed-log-ins")
def _count(credentials: dict[str, Any], request: HttpRequest | None = None, **_rest: Any) -> None:
    account, address = _keys(request, str(credentials.get("username", "")))
    PER_ACCOUNT.count(account)
    PER_ADDRESS.count(address)


def _keys(request: HttpRequest | None, username: str) -> tuple[str, str]:
    # By account and address together: nobody can lock somebody else out from afar.
    address = network_of(request.META.get("REMOTE_ADDR", "")) if request else ""
    return f"{address} {username.lower()}", address
