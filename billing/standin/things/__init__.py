"""Stripe's objects, one module for each kind: what its endpoints do, and how it looks."""
