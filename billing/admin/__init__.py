"""The operators' pages of billing."""

from . import collecting, earnings, exports, ledger, prices, statements

__all__ = ["collecting", "earnings", "exports", "ledger", "prices", "statements"]
