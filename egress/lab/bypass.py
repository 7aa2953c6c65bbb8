"""A CNI plugin for networks that dedicated egress can't work on: chained after ptp, packets go past netfilter.

What a container sends to the internet is taken from its interface on the host straight to the default route's next hop,
before any hook of the host sees it: as networks with eBPF host routing do. Run as a script, standard library only.
"""

import json
import os
import subprocess
import sys
from typing import Any

_LOCAL = "10.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3"
_SECONDS = 10


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=_SECONDS)
    return done.stdout


def divert(interface: str) -> None:
    """Have packets for the internet that arrive from `interface` leave by the default route, past all hooks."""
    (default,) = json.loads(_run("ip", "-j", "-4", "route", "show", "default"))[:1]
    # The chain goes when its interface does.
    _run("nft", "-f", "-", text=f"""
    table netdev bypass {{
      chain {interface} {{
        type filter hook ingress device "{interface}" priority 0;
        ip daddr != {{ {_LOCAL} }} fwd ip to {default["gateway"]} device "{default["dev"]}"
      }}
    }}
    """)  # fmt: skip


def main() -> int:
    """Answer one call of a container runtime; return the exit code."""
    config: dict[str, Any] = json.loads(sys.stdin.read() or "{}")
    if os.environ.get("CNI_COMMAND") == "ADD":
        result = config["prevResult"]
        divert(next(str(link["name"]) for link in reversed(result["interfaces"]) if not link.get("sandbox")))
        sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
