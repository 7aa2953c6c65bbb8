"""How times are written on pages."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from egress.control import clock

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86_400


@register.simple_tag
def page_time() -> str:
    """Return the server's time, against which the page's script counts: a viewer's clock may be wrong."""
    return clock.now().isoformat(timespec="milliseconds")


def in_words(seconds: float) -> str:
    """Say how long ago something was; `app.js` uses the same words."""
    if seconds < 5:  # noqa: PLR2004  # shorter than anybody reads
        return "just now"
    for unit, size in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", 1)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


@register.filter
def ago(at: datetime | None) -> SafeString | str:
    """Write a time as a distance, with the exact one as title and for machines; nothing for None."""
    if at is None:
        return ""
    exact = at.astimezone(timezone.get_current_timezone())
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        exact.isoformat(timespec="seconds"),
        exact.strftime("%-d %b %Y, %H:%M:%S %Z"),
        in_words((clock.now() - at).total_seconds()),
    )


@register.filter
def duration(seconds: int) -> str:
    """Write a length of time in its largest whole unit."""
    for unit, size in (("hour", HOUR), ("minute", MINUTE)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} seconds"
