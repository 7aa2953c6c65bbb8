"""Ready-made lines that let an app's addresses through other people's firewalls. Pure text, nothing is run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One way to allow the addresses: `key` for anchors, `note` says where the text belongs."""

    key: str
    title: str
    note: str
    text: str


def snippets_for(*, app: str, addresses: Sequence[str]) -> tuple[Snippet, ...]:
    """Return the snippets for an app's addresses, which must be plain IPv4 ones; none without an address."""
    if not addresses:
        return ()
    return (
        _postgresql(addresses),
        _security_group(app, addresses),
        _ufw(app, addresses),
        _nftables(addresses),
        _doctl(addresses),
        _json(app, addresses),
    )


def _postgresql(addresses: Sequence[str]) -> Snippet:
    lines = [f"hostssl  all  all  {address + '/32':<18}  scram-sha-256" for address in addresses]
    return Snippet(
        key="postgresql",
        title="PostgreSQL",
        note="Add to pg_hba.conf, then reload",
        text="\n".join(lines),
    )


def _security_group(app: str, addresses: Sequence[str]) -> Snippet:
    ranges = ",".join(f"{{CidrIp={address}/32,Description={app}}}" for address in addresses)
    text = (
        "aws ec2 authorize-security-group-ingress \\\n"
        "  --group-id YOUR_GROUP \\\n"
        f"  --ip-permissions 'IpProtocol=tcp,FromPort=443,ToPort=443,IpRanges=[{ranges}]'"
    )
    return Snippet(key="aws", title="AWS security group", note="Put in your group and port", text=text)


def _ufw(app: str, addresses: Sequence[str]) -> Snippet:
    lines = [f"ufw allow from {address} to any port 443 proto tcp comment '{app}'" for address in addresses]
    return Snippet(key="ufw", title="ufw", note="Put in your port", text="\n".join(lines))


def _nftables(addresses: Sequence[str]) -> Snippet:
    text = f"ip saddr {{ {', '.join(addresses)} }} tcp dport 443 accept"
    return Snippet(key="nftables", title="nftables", note="Add to your input chain, with your port", text=text)


def _doctl(addresses: Sequence[str]) -> Snippet:
    sources = ",".join(f"address:{address}" for address in addresses)
    text = f'doctl compute firewall add-rules YOUR_FIREWALL \\\n  --inbound-rules "protocol:tcp,ports:443,{sources}"'
    return Snippet(key="doctl", title="doctl", note="Put in your firewall's id and port", text=text)


def _json(app: str, addresses: Sequence[str]) -> Snippet:
    text = json.dumps({"app": app, "egress_ips": [f"{address}/32" for address in addresses]})
    return Snippet(key="json", title="JSON", note="For a tool of your own", text=text)
