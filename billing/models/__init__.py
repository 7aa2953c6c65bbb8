"""Billing's rows, in the order in which one is made from the other: ledger, prices, statements; and who pays."""

from .accounts import BillingAccount
from .append_only import AppendOnlyError
from .closing import MonthClose, StatementProblem
from .ledger import TrafficRecord, UsageRecord
from .metering import Meter, Recheck
from .prices import Credit, Price, Terms
from .statements import Statement, StatementLine

__all__ = [
    "AppendOnlyError",
    "BillingAccount",
    "Credit",
    "Meter",
    "MonthClose",
    "Price",
    "Recheck",
    "Statement",
    "StatementLine",
    "StatementProblem",
    "Terms",
    "TrafficRecord",
    "UsageRecord",
]
