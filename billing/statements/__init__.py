"""From the ledger to statements: what a month used, drafts of it, the close of finished months, the way back."""
