"""What the agent tells of the machine and of itself."""

from importlib import metadata
from pathlib import Path


def _version() -> str:
    try:
        return metadata.version("sluicegate")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "unpackaged"


AGENT_VERSION = _version()


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
