"""What an operator should look at first about the export folder."""

from django.db.models import Q

from egress.control.attention import Concern


def export_concerns() -> tuple[Concern, ...]:
    """Return which months couldn't be written."""
    return (Concern(key="unwritten", label="Couldn't be written", where=~Q(problem="")),)
