"""The worker nodes' container networks: ptp on one, bridge on the other, our plugin chained to both."""

import json
from pathlib import Path

from egress.cni.install import ConflistError, InstallError, conflist_with_plugin, install_plugin

from . import bypass
from .agents import PLUGIN_FOLDERS, AgentPaths
from .cni import Chain, Json
from .config import NodeConfig
from .errors import LabError

#: Debian's plugins know no later version.
CNI_VERSION = "1.0.0"
#: The name of the plugin that makes a network an unsupported one.
BYPASS = "bypass"


def chain(node: NodeConfig, paths: AgentPaths, *, python: str, with_plugin: bool) -> Chain:
    """Return `node`'s chain of CNI plugins, with ours installed and last in it if `with_plugin`."""
    for folder in (paths.conf_dir, paths.results_dir, paths.leases_dir, paths.bin_dir):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    conflist = base_conflist(node, paths.leases_dir)
    if with_plugin:
        conflist = _with_plugin(conflist, paths, python)
    script = paths.bin_dir / BYPASS
    script.write_text(f"#!/bin/sh\nexec {python} -I {bypass.__file__}\n")
    script.chmod(0o755)
    conflist_file = paths.conf_dir / "10-pods.conflist"
    conflist_file.write_text(json.dumps(conflist))
    return Chain(
        place=node.namespace,
        conflist_file=conflist_file,
        plugin_path=(paths.bin_dir, *PLUGIN_FOLDERS),
        results_dir=paths.results_dir,
    )


def bypass_netfilter(chain: Chain, *, on: bool) -> None:
    """Have new containers' packets forwarded past netfilter, which is an unsupported network, or not any more."""
    conflist = chain.conflist
    plugins = [plugin for plugin in conflist["plugins"] if plugin["type"] != BYPASS]
    conflist["plugins"] = [*plugins, {"type": BYPASS}] if on else plugins
    scratch = chain.conflist_file.with_suffix(".new")
    scratch.write_text(json.dumps(conflist))
    scratch.rename(chain.conflist_file)


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
