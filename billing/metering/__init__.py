"""From events to the ledger: billable time (`billable`, pure), evidence, hourly close, what comes late, the check."""
