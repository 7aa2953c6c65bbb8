"""Made-up history, played through real metering, rating, statements and invoicing (ADR 30)."""
