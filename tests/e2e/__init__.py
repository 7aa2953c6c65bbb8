"""The whole system, on real packets and in a real browser."""
