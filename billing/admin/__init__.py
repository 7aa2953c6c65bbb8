"""The operators' pages of billing."""

from . import collecting, exports

__all__ = ["collecting", "exports"]
