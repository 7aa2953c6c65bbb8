"""Made-up history, played through real metering, rating, statements and invoicing: for demo, tests and bench (ADR 30)."""
