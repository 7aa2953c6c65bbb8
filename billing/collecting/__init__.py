"""Collect through Stripe what statements say: "we rate, Stripe collects". Only `door` knows Stripe's library."""

from .closing import close_account
from .customers import Urls, account_of, details_change, method_refresh, portal_session, setup_session
from .invoicing import collect

__all__ = [
    "Urls",
    "account_of",
    "close_account",
    "collect",
    "details_change",
    "method_refresh",
    "portal_session",
    "setup_session",
]
