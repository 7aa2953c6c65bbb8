"""Bring back gateways that are dead or sick, a step at a time; stop where so many are that our view must be wrong."""
