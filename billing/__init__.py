"""Metering, rating, statements, collecting through Stripe, exports: the ledger that hangs on assignments' events."""
