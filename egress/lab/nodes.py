"""The worker nodes' container networks: ptp on one, bridge on the other, our plugin chained to both."""

from pathlib import Path

from egress.cni.install import ConflistError, InstallError, conflist_with_plugin, install_plugin

from .agents import AgentPaths
from .cni import Chain, Json
from .config import NodeConfig
from .errors import LabError

#: Where Debian puts the reference plugins, and where most others do.
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
#: Debian's plugins know no later version.
CNI_VERSION = "1.0.0"


def chain(node: NodeConfig, paths: AgentPaths, *, python: str, with_plugin: bool) -> Chain:
    """Return `node`'s chain of CNI plugins, with ours installed and last in it if `with_plugin`."""
    for folder in (paths.results_dir, paths.leases_dir, paths.bin_dir):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    conflist = base_conflist(node, paths.leases_dir)
    if with_plugin:
        conflist = _with_plugin(conflist, paths, python)
    return Chain(
        place=node.namespace,
        conflist=conflist,
        plugin_path=(paths.bin_dir, *PLUGIN_FOLDERS),
        results_dir=paths.results_dir,
    )


def _with_plugin(conflist: Json, paths: AgentPaths, python: str) -> Json:
    try:
        install_plugin(
            paths.bin_dir,
            # Without the virtual environment round it, an interpreter starts sooner.
            interpreter=Path(python).resolve(),
            socket=paths.socket,
            namespaces_file=paths.namespaces_file,
        )
        return conflist_with_plugin(conflist)
    except (InstallError, ConflistError) as error:
        raise LabError(f"the CNI plugin can't be installed: {error}") from error


def base_conflist(node: NodeConfig, leases_dir: Path) -> Json:
    """Return a network configuration list of reference plugins for `node`."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pod_network}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(leases_dir),
    }
    plugins = {
        "ptp": {"type": "ptp", "ipMasq": False, "ipam": ipam},
        "bridge": {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "ipam": ipam},
    }
    return {"cniVersion": CNI_VERSION, "name": "pods", "plugins": [plugins[node.network]]}
