"""Move `time.time` by what a file says, in seconds, at once and at any time: the kernel has no clock per namespace.

Python imports a module of this name before anything else, so that also those who keep a reference to the function get
this one. What reads the clock in another way, `datetime.now` above all, isn't moved.
"""

import mmap
import os
import struct
import time
from pathlib import Path

#: Names the file: one float, in the machine's own way of writing.
VARIABLE = "SLUICEGATE_LAB_CLOCK"


def _move(path: Path) -> None:
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), struct.calcsize("d"), prot=mmap.PROT_READ)
    real = time.time

    def moved() -> float:
        seconds: float = struct.unpack_from("d", offset)[0]
        return real() + seconds

    time.time = moved


if VARIABLE in os.environ:
    _move(Path(os.environ[VARIABLE]))
