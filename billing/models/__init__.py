"""Billing's rows, in the order in which one is made from the other: ledger, prices, statements; and who pays."""

from .accounts import BillingAccount
from .append_only import AppendOnlyError
from .budgets import BudgetLook
from .closing import MonthClose, StatementProblem
from .collecting import Dunning, Invoice, InvoiceStatus, Movement, MovementKind, Refusal, WebhookEvent
from .exports import MonthExport
from .ledger import TrafficRecord, UsageRecord
from .metering import Meter, Recheck
from .notices import Notice, NoticeMail
from .prices import Credit, Price, Terms
from .replay import Replay
from .statements import Statement, StatementLine

__all__ = [
    "AppendOnlyError",
    "BillingAccount",
    "BudgetLook",
    "Credit",
    "Dunning",
    "Invoice",
    "InvoiceStatus",
    "Meter",
    "MonthClose",
    "MonthExport",
    "Movement",
    "MovementKind",
    "Notice",
    "NoticeMail",
    "Price",
    "Recheck",
    "Refusal",
    "Replay",
    "Statement",
    "StatementLine",
    "StatementProblem",
    "Terms",
    "TrafficRecord",
    "UsageRecord",
    "WebhookEvent",
]
