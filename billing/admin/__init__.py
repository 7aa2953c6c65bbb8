"""The operators' pages of billing."""

from . import exports

__all__ = ["exports"]
