"""Count what gateways send, each byte once: a report tells the total since its boot, and what is new of it is added.

Counter and sum are written in one transaction, that of the report. So a crash loses and doubles nothing: what wasn't
written is in the next report's total. What a gateway sent after its last report before a reboot is told by nobody.
"""

from typing import NamedTuple

from django.db.models import F

from egress.control import clock
from egress.control.models import Gateway
from egress.control.models_traffic import HourOfTraffic


class Counter(NamedTuple):
    """How far a gateway was counted: its boot, the highest reading of that, and the boot before."""

    boot_id: str
    bytes: int
    boot_id_before: str


def advanced(counter: Counter, boot_id: str, reading: int) -> tuple[Counter, int]:
    """Return the counter after `reading`, and how many bytes are new. Pure.

    A lower reading of the same boot is a report that was overtaken, or an interface made anew: it adds nothing.
    """
    if boot_id == counter.boot_id:
        return counter._replace(bytes=max(reading, counter.bytes)), max(0, reading - counter.bytes)
    if boot_id == counter.boot_id_before:
        return counter, 0
    return Counter(boot_id, reading, counter.boot_id), reading


def count(gateway: Gateway, boot_id: str, reading: int) -> None:
    """Add what is new in `reading` to the present hour, in the transaction of the report that brought it.

    That has written the gateway's row already, which locks it: of two reports at once, the second reads here what the
    first added.
    """
    row = Gateway.objects.filter(pk=gateway.pk)
    present = Counter(*row.values_list("counted_boot_id", "counted_bytes", "counted_boot_id_before").get())
    counter, fresh = advanced(present, boot_id, reading)
    if counter == present:
        return
    row.update(
        counted_boot_id=counter.boot_id,
        counted_bytes=counter.bytes,
        counted_boot_id_before=counter.boot_id_before,
    )
    if fresh:
        hour = clock.now().replace(minute=0, second=0, microsecond=0)
        hours = HourOfTraffic.objects.filter(gateway=gateway, hour=hour)
        if not hours.update(sent_bytes=F("sent_bytes") + fresh):
            HourOfTraffic.objects.create(gateway=gateway, hour=hour, sent_bytes=fresh)
