"""Measurements of a whole system on this machine: `./dev bench`. Never part of the tests."""
