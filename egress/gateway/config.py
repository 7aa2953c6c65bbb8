"""Read the agent's configuration, which arrives in the VM's user data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from egress.wire.codec import Bounds, Identifier, Network, WireError, decode
from egress.wire.messages import Secret


class ConfigError(Exception):
    """The configuration can't be used; the message says which file and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a gateway knows from birth. `ca_file` is the CA bundle to trust, "" for the system's."""

    gateway_id: Identifier
    enrolment_secret: Secret = field(repr=False)
    control_plane_url: Annotated[str, Bounds(9, 500)]
    vpc: Network
    ca_file: Annotated[str, Bounds(0, 500)] = ""
    state_dir: Annotated[str, Bounds(1, 500)] = "/var/lib/sluicegate/gateway"


def load_config(path: Path) -> Config:
    """Return the configuration in `path`, a JSON object.

    Raises ConfigError.
    """
    try:
        return decode(Config, path.read_bytes())
    except (OSError, WireError) as error:
        raise ConfigError(f"{path} can't be used: {error}; it comes with the VM's user data: rebuild the VM") from None
