"""Rating: what usage costs. Pure, but for the prices, terms and credits, which `prices` and `terms` keep as rows."""
