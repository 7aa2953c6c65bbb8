"""Billing's tests."""
