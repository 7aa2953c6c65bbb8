"""The operators' pages. They look at everything and change statuses only through services."""

from . import egress, nodes, repair, safety

__all__ = ["egress", "nodes", "repair", "safety"]
