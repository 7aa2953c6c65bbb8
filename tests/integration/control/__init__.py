"""The control plane against a real database."""
