"""The agent's configuration file."""

import dataclasses
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from egress.wire import scrape
from egress.wire.codec import Address, Bounds, Identifier, WireError, decode

FilePath = Annotated[str, Bounds(1, 4096)]


class ConfigError(Exception):
    """The configuration file can't be used; the message says why and what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `python -m egress.node --config FILE` reads; a JSON object with these keys and no others.

    `private_interface` and `private_address` are the node's leg in the VPC. `state_dir` survives a reboot,
    `run_dir` needn't. `ca_file` None means the system's certificates. `cni_conf_dir` and `cni_bin_dirs` are the
    container runtime's folders of networks and of plugins.
    """

    name: Identifier
    control_plane_url: Annotated[str, Bounds(1, 500)]
    join_token_file: FilePath
    private_interface: Annotated[str, Bounds(1, 15)]
    private_address: Address
    ca_file: FilePath | None = None
    state_dir: FilePath = "/var/lib/sluicegate"
    run_dir: FilePath = "/run/sluicegate"
    cni_cache_dir: FilePath = "/var/lib/cni/results"
    cni_conf_dir: FilePath = "/etc/cni/net.d"
    cni_bin_dirs: Annotated[tuple[FilePath, ...], Bounds(1, 10)] = ("/opt/cni/bin", "/usr/lib/cni")
    #: False only where the network's plugins can't be run for a container that Kubernetes doesn't know: then nobody
    #: has seen that this node's network is a supported one, and that is the operator's word.
    canary: bool = True
    #: Where Prometheus finds the metrics: a loopback address, or `private_address` with a token, and not for pods.
    metrics_address: Address = "127.0.0.1"
    #: 0 shows none.
    metrics_port: Annotated[int, Bounds(0, 65_535)] = scrape.PORT
    #: Holds the bearer token that is asked for; None asks for none.
    metrics_token_file: FilePath | None = None

    @property
    def socket(self) -> Path:
        """Where the CNI plugin finds the agent."""
        return Path(self.run_dir, "cni.sock")

    @property
    def namespaces_file(self) -> Path:
        """Where the CNI plugin finds the namespaces whose containers must not start without the agent."""
        return Path(self.state_dir, "namespaces")

    @property
    def metrics_on_loopback(self) -> bool:
        """Whether only this machine can reach the metrics."""
        return ipaddress.IPv4Address(self.metrics_address).is_loopback


def read_config(path: Path) -> Config:
    """Return the configuration in `path`; raise ConfigError for every mistake in it."""
    try:
        content = path.read_bytes()
        known = json.loads(content)
        config = decode(Config, content)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    except WireError as error:
        raise ConfigError(f"{path}: {error}") from None
    # The wire format lets unknown fields pass; here one is a setting that would be silently ignored.
    names = {field.name for field in dataclasses.fields(Config)}
    if unknown := sorted(set(known) - names):
        raise ConfigError(f"{path}: unknown setting {', '.join(unknown)}; known are {', '.join(sorted(names))}")
    if not config.control_plane_url.startswith("https://"):
        raise ConfigError(f"{path}: control_plane_url must be https://host[:port], not {config.control_plane_url!r}")
    if not config.metrics_on_loopback:
        if config.metrics_address != config.private_address:
            raise ConfigError(f"{path}: metrics_address must be a loopback address or private_address")
        if config.metrics_token_file is None:
            raise ConfigError(f"{path}: metrics at {config.metrics_address} need a metrics_token_file")
    return config
