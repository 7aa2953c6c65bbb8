"""Exports of usage and charges: CSV, JSON Lines and FOCUS 1.2, whose amounts add up to statements (ADR 28)."""
