"""Dedicated egress: the control plane, the agents, and the messages between them."""

__version__ = "0.1.0"
