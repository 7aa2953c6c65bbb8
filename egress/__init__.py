"""Dedicated egress: the control plane, the agents, and the messages between them."""
