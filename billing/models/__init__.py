"""Billing's rows, in the order in which one is made from the other: ledger, prices, statements; and who pays."""

from .accounts import BillingAccount
from .budgets import BudgetLook
from .closing import MonthClose, StatementProblem
from .collecting import Dunning, Invoice, InvoiceStatus, Movement, MovementKind, Refusal, WebhookEvent
from .ledger import UsageRecord
from .notices import Notice, NoticeMail
from .prices import Credit, Price, Terms
from .statements import Statement, StatementLine

__all__ = [
    "BillingAccount",
    "BudgetLook",
    "Credit",
    "Dunning",
    "Invoice",
    "InvoiceStatus",
    "MonthClose",
    "Movement",
    "MovementKind",
    "Notice",
    "NoticeMail",
    "Price",
    "Refusal",
    "Statement",
    "StatementLine",
    "StatementProblem",
    "Terms",
    "UsageRecord",
    "WebhookEvent",
]
