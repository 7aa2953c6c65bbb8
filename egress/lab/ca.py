"""The lab's certificate authority: certificates for its two TLS servers."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trustme

CONTROL_PLANE_ADDRESS = "198.51.100.80"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM. `ca` is what clients trust."""

    ca: Path
    #: For the cloud API and whatever else is served on this machine: localhost and 127.0.0.1.
    local_cert: Path
    local_key: Path
    #: For the control plane's agent API at 198.51.100.80.
    control_cert: Path
    control_key: Path


def certificates(state_dir: Path) -> Certificates:
    """Return the lab's certificates in `state_dir`/tls, making them at the first call.

    The authority's own key is thrown away, so nobody can sign with it later.
    """
    folder = state_dir / "tls"
    files = Certificates(
        ca=folder / "ca.pem",
        local_cert=folder / "localhost.pem",
        local_key=folder / "localhost.key",
        control_cert=folder / "control.pem",
        control_key=folder / "control.key",
    )
    if not folder.exists():
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The folder appears whole or not at all; mkdtemp makes it for its owner only.
        scratch = Path(tempfile.mkdtemp(prefix="tls.", dir=state_dir))
        try:
            _make(scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return files


def _make(folder: Path) -> None:
    authority = trustme.CA(organization_name="Sluicegate lab")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, identities in (("localhost", ("localhost", "127.0.0.1")), ("control", (CONTROL_PLANE_ADDRESS,))):
        issued = authority.issue_cert(*identities)
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for part in issued.cert_chain_pems:
            part.write_to_path(str(folder / f"{name}.pem"), append=True)
