"""A credential is replaced while its agent is killed at every point of that, and no agent is ever locked out."""

import contextlib
import json
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.db import connection

from egress.control.models import Event, Gateway, Node
from egress.control.services import egress_enable
from egress.wire.codec import encode
from egress.wire.tokens import Tokens
from tests.factories import make_cluster_and_token

from .fleet import Fleet
from .processes import ROOT, running, wait_for, web_command
from .test_bounds import free_port, speaks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(300)]

CALL_AND_SAVE = 8


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sgt-") as name:
        yield Path(name)


@contextlib.contextmanager
def control_plane(folder: Path, **environment: str) -> Iterator[str]:
    """The agents' API over TLS, which offers a new credential with every answer."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    port = free_port()
    command = web_command(port, workers=1)
    command += ["--ssl-keyfile", str(folder / "key.pem"), "--ssl-certfile", str(folder / "cert.pem")]
    trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with running(command, folder / "web.log", AGENT_TOKEN_RENEW_SECONDS="0", **environment):
        wait_for(lambda: speaks(port, trust), "the web server")
        yield f"https://127.0.0.1:{port}"


def run(kind: str, config: Path, point: int) -> int | None:
    """Return how many points there were, None when it was killed at `point`."""
    script = Path(__file__).with_name("crashing_agent.py")
    done = subprocess.run(
        [sys.executable, str(script), kind, str(config), str(point)],
        check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr[-3000:]
    return int(json.loads(done.stdout))


def kill_at_every_point(kind: str, config: Path) -> None:
    """Kill the agent at each point in turn, and let it run through after each."""
    points = run(kind, config, 0)
    # Two calls, each followed by two fsyncs and a rename, with a point before and one after.
    assert points == 2 * CALL_AND_SAVE
    # The second call is the first use of what the first one offered; what follows it has been killed before.
    for point in range(1, CALL_AND_SAVE + 3):
        assert run(kind, config, point) is None
        assert run(kind, config, 0), f"after the kill at point {point}"


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_node_killed_anywhere_in_it_never_joins_again(db: None, folder: Path) -> None:
    _, join_token = make_cluster_and_token()
    (folder / "join-token").write_text(join_token)
    with control_plane(folder) as url:
        config = write(
            folder / "agent.json",
            {
                "name": "w1",
                "control_plane_url": url,
                "ca_file": str(folder / "ca.pem"),
                "join_token_file": str(folder / "join-token"),
                "private_interface": "eth1",
                "private_address": "10.110.0.21",
                "state_dir": str(folder / "state"),
                "run_dir": str(folder / "run"),
            },
        )
        assert run("node", config, 0)
        (folder / "join-token").write_text("sgj_void-from-now-on")
        used = {Node.objects.get().token_hash}
        kill_at_every_point("node", config)
        used.add(Node.objects.get().token_hash)
    assert len(used) == 2
    assert not Event.objects.filter(kind="security").exists()


def test_a_gateway_killed_anywhere_in_it_needs_no_window(fleet: Fleet, folder: Path) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    row = fleet.gateways()[0]
    token = fleet.enrol(row)
    Gateway.objects.update(enrolment_until=None)
    connection.close()
    (folder / "state").mkdir()
    (folder / "state" / "credential.json").write_bytes(encode(Tokens(token=token)))
    with control_plane(folder) as url:
        config = write(
            folder / "gateway.json",
            {
                "gateway_id": str(row.pk),
                "enrolment_secret": "sge_" + "0" * 64,
                "control_plane_url": url,
                "vpc": "10.110.0.0/20",
                "ca_file": str(folder / "ca.pem"),
                "state_dir": str(folder / "state"),
            },
        )
        kill_at_every_point("gateway", config)
    assert Gateway.objects.get(pk=row.pk).token_hash != row.token_hash
    assert not Event.objects.filter(kind="security").exists()
