"""What keeps cost within bounds: policies that are asked before egress is enabled, and mails about budgets."""
