"""Time CNI ADDs inside a lab node: Debian's bridge plugin and ours, in turn. Runs there as a script, alone.

Arguments: our plugin, the namespace of the pods, rounds, rounds to warm up, addresses to take turns with.
Prints {"bridge": [ms …], "ours": [ms …]}.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BRIDGE = "/usr/lib/cni/bridge"
TIMEOUT_SECONDS = 30


def call(plugin: str, command: str, netns: str, config: dict[str, Any], namespace: str) -> tuple[float, bytes]:
    """Run one plugin; returns the milliseconds from before the fork to after the exit, and what it printed."""
    name = Path(netns).name
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/usr/lib/cni",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={name}",
    }
    text = json.dumps({"cniVersion": "1.0.0", "name": "bench", **config}).encode()
    begun = time.perf_counter()
    done = subprocess.run(
        [plugin], input=text, env=environment, capture_output=True, check=False, timeout=TIMEOUT_SECONDS
    )
    elapsed = (time.perf_counter() - begun) * 1000
    if done.returncode:
        sys.exit(f"{plugin} {command}: {done.stdout.decode()} {done.stderr.decode()}")
    return elapsed, done.stdout


def one_round(ours: str, namespace: str, number: int, ipam: dict[str, Any]) -> tuple[float, float]:
    """Wire one container by both plugins and take it down again; returns the two ADDs' milliseconds."""
    name = f"bench-{os.getpid()}-{number}"
    netns = f"/run/netns/{name}"
    bridge = {"type": "bridge", "bridge": "bench0", "isGateway": True, "ipMasq": False, "ipam": ipam}
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=TIMEOUT_SECONDS)
    try:
        bridge_ms, result = call(BRIDGE, "ADD", netns, bridge, namespace)
        previous = {"prevResult": json.loads(result)}
        ours_ms, answer = call(ours, "ADD", netns, {"type": "sluicegate", **previous}, namespace)
        if json.loads(answer) != previous["prevResult"]:
            sys.exit("our plugin altered the result")
        call(ours, "DEL", netns, {"type": "sluicegate", **previous}, namespace)
        call(BRIDGE, "DEL", netns, {**bridge, **previous}, namespace)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=TIMEOUT_SECONDS)
    return bridge_ms, ours_ms


def main() -> None:
    """Measure, and print the figures."""
    ours, namespace, rounds, warm_up, addresses = *sys.argv[1:3], *map(int, sys.argv[3:6])
    with tempfile.TemporaryDirectory() as leases:
        block = {"subnet": "10.244.250.0/24", "rangeStart": "10.244.250.2", "rangeEnd": f"10.244.250.{1 + addresses}"}
        ipam = {"type": "host-local", "ranges": [[block]], "dataDir": leases}
        figures = [one_round(ours, namespace, number, ipam) for number in range(warm_up + rounds)][warm_up:]
    subprocess.run(["ip", "link", "del", "bench0"], check=True, timeout=TIMEOUT_SECONDS)
    bridge, plugin = zip(*figures, strict=True)
    print(json.dumps({"bridge": bridge, "ours": plugin}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
