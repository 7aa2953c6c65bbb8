"""Bring an assignment nearer to its wish: read the facts, plan one step, take it under the lease."""
