"""The lab's configuration file: JSON, checked field by field."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from egress.wire.codec import Bounds, Identifier, WireError, decode, encode

from .errors import LabError

PathText = Annotated[str, Bounds(1, 4096)]
MAX_CONFIG_BYTES = 64 * 1024
#: The lab hides this folder behind one of its own, so nothing that it needs may lie there.
HIDDEN = Path("/run")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One worker node. Its number (1-9) makes its addresses: 198.51.100.2N, 10.110.0.2N, pods in 10.244.N.0/24."""

    name: Identifier
    number: Annotated[int, Bounds(1, 9)]
    #: The kind of its container network.
    network: Literal["ptp", "bridge"]

    @property
    def public_address(self) -> str:
        """The address that its containers share on the internet."""
        return f"198.51.100.{20 + self.number}"

    @property
    def private_address(self) -> str:
        """Its address in the VPC."""
        return f"10.110.0.{20 + self.number}"

    @property
    def pod_network(self) -> str:
        """Where its containers' addresses come from."""
        return f"10.244.{self.number}.0/24"

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"node-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudConfig:
    """The cloud API: `fd` is a listening TCP socket, inherited because it lives in the host's network."""

    fd: Annotated[int, Bounds(3, 65_535)]
    cert_file: PathText
    key_file: PathText
    tokens: Annotated[tuple[Annotated[str, Bounds(16, 200)], ...], Bounds(1, 10)] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What node agents are told of the control plane."""

    control_plane_url: Annotated[str, Bounds(9, 300)]
    ca_file: PathText
    join_token_file: PathText


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingConfig:
    """How to do without packets: where the agents' API listens, a unix socket, and why there are none."""

    agents_socket: Annotated[str, Bounds(1, 100)]
    reason: Annotated[str, Bounds(1, 2000)]


DEFAULT_NODES = (
    NodeConfig(name="node-1", number=1, network="ptp"),
    NodeConfig(name="node-2", number=2, network="bridge"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabConfig:
    """Everything a lab needs. Without `cloud` it has no Droplets' API, without `agent` no node agents and no plugin.

    With `recording`, which wants both, no namespace is made and no packet steered.
    """

    state_dir: PathText
    control_socket: Annotated[str, Bounds(1, 100)]
    #: An absolute interpreter that can import this package: for the agents and the plugin.
    python: PathText
    cloud: CloudConfig | None = None
    agent: AgentConfig | None = None
    recording: RecordingConfig | None = None
    nodes: Annotated[tuple[NodeConfig, ...], Bounds(1, 9)] = DEFAULT_NODES


def load(path: Path) -> LabConfig:
    """Read and check a configuration file. Raises LabError with what is wrong in it."""
    try:
        with path.open("rb") as file:
            config = decode(LabConfig, file.read(MAX_CONFIG_BYTES))
    except (OSError, WireError) as error:
        raise LabError(f"the lab's configuration {path} can't be used: {error}") from None
    numbers = {node.number for node in config.nodes}
    if len(numbers) < len(config.nodes) or len({node.name for node in config.nodes}) < len(config.nodes):
        raise LabError(f"the lab's configuration {path} names a node twice: give each its own name and number")
    for text in _paths(config):
        _check(path, text)
    return config


def save(config: LabConfig, path: Path) -> None:
    """Write `config` to `path` by atomic rename, readable by its owner only: it holds the cloud's tokens."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(encode(config))
    scratch.rename(path)


def _paths(config: LabConfig) -> list[str]:
    parts = (config, config.cloud, config.agent)
    names = ("state_dir", "control_socket", "python", "cert_file", "key_file", "ca_file", "join_token_file")
    return [
        getattr(part, item.name)
        for part in parts
        if part is not None
        for item in dataclasses.fields(part)
        if item.name in names
    ]


def _check(path: Path, text: str) -> None:
    if not text.startswith("/"):
        raise LabError(f"the lab's configuration {path} has the path {text!r}: make it absolute")
    if HIDDEN.resolve() in Path(text).resolve().parents:
        raise LabError(f"the lab can't use {text}: it has a {HIDDEN} of its own, choose a place elsewhere")
