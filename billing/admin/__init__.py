"""The operators' pages of billing."""

from . import collecting

__all__ = ["collecting"]
