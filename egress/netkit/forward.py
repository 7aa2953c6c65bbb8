"""Let diverted packets through a FORWARD chain that drops: no accept of ours can overrule a drop of another table.

Docker, ufw and many hosts set iptables' FORWARD policy to DROP; Kubernetes' network plugins put their accept rules
in front of it, and so do we: two rules, for what goes to a gateway and for what comes back. They match our mark and
the private interface, nothing else.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .nft import Nft, NftError

_COMMENT = "sluicegate"
#: Rules without a mask (and CONNMARK's restore of one) write all bits; they say nothing of whose bits they mean.
_WHOLE = 0xFFFF_FFFF
_TIMEOUT_SECONDS = 10
_TOOLS = {"iptables-nft": "iptables-nft-save", "iptables-legacy": "iptables-legacy-save"}


def forward_rules(interface: str, mask: int) -> tuple[tuple[str, ...], ...]:
    """Return the terms of our rules in iptables' FORWARD chain."""
    comment = ("-m", "comment", "--comment", _COMMENT)
    going = ("-o", interface, "-m", "connmark", "!", "--mark", f"0x0/{mask:#x}", *comment, "-j", "ACCEPT")
    returning = ("-i", interface, "-m", "connmark", "!", "--mark", f"0x0/{mask:#x}", *comment, "-j", "ACCEPT")
    return (going, returning)


def accept_forwarding(interface: str, mask: int) -> tuple[str, ...]:
    """See that our rules stand in each iptables that filters forwarded packets; return in words what was added."""
    added = []
    for tool, save in _TOOLS.items():
        if not _filters(_saved(tool, save)):
            continue
        for terms in forward_rules(interface, mask):
            if _succeeds(tool, "-C", "FORWARD", *terms):
                continue
            _run(tool, "-w", "5", "-I", "FORWARD", "1", *terms)
            added.append(f"missing accept rule in {tool}'s FORWARD chain for {' '.join(terms[:2])}")
    return tuple(added)


def withdraw_forwarding() -> None:
    """Remove our rules from every iptables."""
    for tool, save in _TOOLS.items():
        for line in _saved(tool, save).splitlines():
            if line.startswith("-A FORWARD ") and re.search(rf'--comment "?{_COMMENT}"?(\s|$)', line):
                _run(tool, "-w", "5", "-D", *line.replace('"', "").split()[1:])


def foreign_drops(nft: Nft) -> tuple[str, ...]:
    """Return a warning for each nftables base chain of others that drops forwarded packets by policy."""
    try:
        objects = nft.listing("chains")
    except NftError:
        return ()
    chains = [each["chain"] for each in objects if "chain" in each]
    return tuple(_drop_warning(chain) for chain in chains if _drops(chain))


def foreign_marks(mask: int) -> tuple[str, ...]:
    """Return in words which iptables rules set mark bits of ours; nftables rules don't show theirs reliably."""
    found = []
    for save in filter(shutil.which, _TOOLS.values()):
        for line in _run(save).splitlines():
            for term in re.finditer(r"--set-x?mark (0x[0-9a-f]+)(?:/(0x[0-9a-f]+))?", line):
                bits = int(term[2] or "0xffffffff", 16)
                if bits & mask and bits != _WHOLE:
                    found.append(
                        f"an iptables rule sets mark bits {bits:#x}, some of them ours ({mask:#x}): {line[:200]}"
                    )
    return tuple(found)


def _saved(tool: str, save: str) -> str:
    """Return what `tool` has in its table filter; asking legacy iptables for a table that isn't there would make it."""
    if not (shutil.which(tool) and shutil.which(save)):
        return ""
    if tool == "iptables-legacy" and "filter" not in _legacy_tables():
        return ""
    return _run(save, "-t", "filter")


def _legacy_tables() -> list[str]:
    try:
        return Path("/proc/net/ip_tables_names").read_text().split()
    except OSError:
        return []


def _filters(saved: str) -> bool:
    return ":FORWARD DROP" in saved or "-A FORWARD" in saved


def _drops(chain: dict[str, Any]) -> bool:
    iptables = chain["family"] == "ip" and chain["table"] == "filter"
    return (
        chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["family"] in {"ip", "inet"}
        and not iptables
    )


def _drop_warning(chain: dict[str, Any]) -> str:
    place = json.dumps([chain["family"], chain["table"], chain["name"]])
    return (
        f"nftables chain {place} drops forwarded packets by policy, and no rule of ours can overrule that: "
        "see that it accepts packets of pods in both directions on the private interface"
    )


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    return done.stdout


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False).returncode == 0
