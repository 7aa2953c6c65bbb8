"""Metering, rating, invoices and exports: the ledger that hangs on assignment events. Its rooms come with billing."""
