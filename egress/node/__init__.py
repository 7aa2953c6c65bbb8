"""The agent on each worker node."""
