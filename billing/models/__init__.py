"""Billing's rows, in the order in which one is made from the other: ledger, prices, statements; and who pays."""

from .accounts import BillingAccount
from .exports import MonthExport
from .ledger import UsageRecord
from .prices import Credit, Price, Terms
from .statements import Statement, StatementLine

__all__ = ["BillingAccount", "Credit", "MonthExport", "Price", "Statement", "StatementLine", "Terms", "UsageRecord"]
