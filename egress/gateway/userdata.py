"""Build the user data that turns a stock Ubuntu LTS server into a gateway, with no download and no package install.

The user data carries the agent as one zip archive that python3 runs. It can't be changed once the server exists,
and a rebuild runs it again.
"""

import base64
import gzip
import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from . import tuning
from .bare import bare
from .config import Config

#: What providers accept.
MAX_BYTES = 64 * 1024
CONFIG_PATH = "/etc/sluicegate/gateway.json"
CA_PATH = "/etc/sluicegate/ca.pem"
AGENT_PATH = "/usr/local/lib/sluicegate/gateway.pyz"
UNIT_PATH = "/etc/systemd/system/sluicegate-gateway.service"
SYSCTL_PATH = "/etc/sysctl.d/60-sluicegate.conf"
#: Read after the image's own settings, of which the last one counts.
APT_PATH = "/etc/apt/apt.conf.d/99-sluicegate"
#: The modules that build user data have no use on the gateway itself.
_LEFT_OUT = frozenset({Path(__file__).name, "bare.py"})
_ARCHIVE_MAIN = "from egress.gateway.__main__ import main\n\nmain()\n"
#: The oldest time that a zip archive can hold: the same files give the same archive, whenever and wherever it is built.
_EPOCH = (1980, 1, 1, 0, 0, 0)

#: Updates come by maintenance only, which empties a gateway first: nothing here restarts a service or the machine.
APT = """\
APT::Periodic::Enable "0";
APT::Periodic::Update-Package-Lists "0";
APT::Periodic::Unattended-Upgrade "0";
Unattended-Upgrade::Automatic-Reboot "false";
"""
_UPDATE_UNITS = ("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service")

#: Before the network comes up, systemd waits until the agent says that its ruleset is in place. -I -S: nothing but the
#: archive and the standard library is imported, whatever else lies about on the server.
UNIT = f"""\
[Unit]
Description=Sluicegate gateway agent
DefaultDependencies=no
After=local-fs.target systemd-sysctl.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=notify
Environment=PYTHONUNBUFFERED=1
ExecStart=/usr/bin/python3 -I -S {AGENT_PATH} --config {CONFIG_PATH}
Restart=always
RestartSec=1
TimeoutStartSec=60
WatchdogSec=60
StateDirectory=sluicegate/gateway
StateDirectoryMode=0700
UMask=0077
Nice=-10
OOMScoreAdjust=-900
TasksMax=64
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
PrivateDevices=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


class UserDataTooLarge(Exception):
    """The user data exceeds what providers accept; the message says by how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserData:
    """What makes one gateway's user data. `ca_pem` is the CA bundle to trust, "" for the system's."""

    gateway_id: str
    enrolment_secret: str = field(repr=False)
    control_plane_url: str
    ca_pem: str
    vpc: str


def gateway_user_data(wanted: UserData) -> str:
    """Return the `#cloud-config` for one gateway: always the same for the same input.

    Raises UserDataTooLarge when it exceeds 64 KiB.
    """
    document = {
        "write_files": _files(wanted),
        "runcmd": [
            ["sysctl", "-q", "-e", "-p", SYSCTL_PATH],
            ["systemctl", "mask", "--now", *_UPDATE_UNITS],
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", Path(UNIT_PATH).name],
        ],
    }
    # JSON is YAML: nothing to quote wrongly.
    text = f"#cloud-config\n{json.dumps(document, indent=1)}\n"
    if len(text) > MAX_BYTES:
        raise UserDataTooLarge(
            f"the user data of gateway {wanted.gateway_id} has {len(text)} bytes, {len(text) - MAX_BYTES} too many:"
            f" the CA bundle has {len(wanted.ca_pem)}; give only the CAs that sign the control plane's certificate"
        )
    return text


def _files(wanted: UserData) -> list[dict[str, Any]]:
    config = Config(
        gateway_id=wanted.gateway_id,
        enrolment_secret=wanted.enrolment_secret,
        control_plane_url=wanted.control_plane_url,
        vpc=wanted.vpc,
        ca_file=CA_PATH if wanted.ca_pem else "",
    )
    files = [
        # Secret: only root may read it.
        {"path": CONFIG_PATH, "permissions": "0600", "content": json.dumps(asdict(config), indent=1) + "\n"},
        {"path": SYSCTL_PATH, "permissions": "0644", "content": tuning.SYSCTL_D},
        {"path": APT_PATH, "permissions": "0644", "content": APT},
        {"path": UNIT_PATH, "permissions": "0644", "content": UNIT},
        {
            "path": AGENT_PATH,
            "permissions": "0644",
            "encoding": "gz+b64",
            "content": base64.b64encode(gzip.compress(agent_archive(), mtime=0)).decode(),
        },
    ]
    if wanted.ca_pem:
        files.append({"path": CA_PATH, "permissions": "0644", "content": wanted.ca_pem})
    return files


@cache
def agent_archive() -> bytes:
    """Return the agent as a zip archive for python3: egress.wire and egress.gateway, and nothing else."""
    package = Path(__file__).resolve().parents[1]
    sources = [package / "__init__.py", *(package / "wire").glob("*.py"), *(package / "gateway").glob("*.py")]
    members = {
        str(path.relative_to(package.parent)): bare(path.read_text()) for path in sources if path.name not in _LEFT_OUT
    }
    content = io.BytesIO()
    # Stored, not deflated: compressing the whole beats compressing each file.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, text in sorted({**members, "__main__.py": _ARCHIVE_MAIN}.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text)
    return content.getvalue()
