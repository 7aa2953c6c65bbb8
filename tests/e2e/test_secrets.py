"""No secret is where it needn't be: in no log, row, event, page, process list, or environment of a container.

A whole enable, rebuild and disable, by the real processes, with all secrets known; then everything is searched.
"""

import json
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from portal.demo.folder import marked
from tests.e2e.system import NODE_NAMES, System, wait_for
from tests.e2e.visitor import Visitor

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(420), pytest.mark.full]

APP = "mail-worker"
#: A hash of a token: nobody needs to see even that.
HASH = re.compile(r"\b[0-9a-f]{64}\b")
ENROLMENT = """
from egress.control.agents.enrolment import enrolment_secret
from egress.control.models import Gateway
print("\\n".join(enrolment_secret(gateway.pk) for gateway in Gateway.objects.all()))
"""
ALARMS = """
from egress.control.models import Event
print(Event.objects.filter(kind="security").count())
"""


def tokens_of(text: str) -> set[str]:
    """Return the tokens in an agent's file of them."""
    return {token for token in json.loads(text).values() if token}


def node_tokens(system: System) -> set[str]:
    files = [system.node_state(node) / "credential.json" for node in NODE_NAMES]
    return set().union(*(tokens_of(file.read_text()) for file in files))


def gateway_tokens(system: System) -> set[str]:
    tokens = set()
    for droplet in system.lab.status()["droplets"]:
        where = f"droplet-{droplet['id']}"
        found = system.lab.exec(where, ["cat", "/var/lib/sluicegate/gateway/credential.json"])
        tokens |= tokens_of(found.stdout) if found.code == 0 else set()
    return tokens


def alarms(system: System) -> int:
    return int(system.stack.manage("shell", "--no-imports", "-c", ALARMS))


@pytest.fixture(scope="module")
def alarms_before(system: System) -> int:
    """Other files' nodes, on the same system, may have joined anew."""
    return alarms(system)


@pytest.fixture(scope="module")
def secrets(system: System, alarms_before: int) -> dict[str, str]:
    """Every secret that there was meanwhile, and what it is."""
    found: dict[str, str] = {
        system.seed["api_token"]: "API token",
        system.seed["join_token"]: "join token",
        system.stack.environment["SECRET_KEY"]: "SECRET_KEY",
        system.stack.environment["DIGITALOCEAN_TOKEN"]: "the provider's token",
        system.seed["password"]: "a password",
        system.stack.environment["STRIPE_SECRET_KEY"]: "Stripe's key",
        system.stack.environment["STRIPE_WEBHOOK_SECRET"]: "the webhooks' secret",
    }

    def note() -> None:
        found.update(dict.fromkeys(node_tokens(system), "a node's token"))
        found.update(dict.fromkeys(gateway_tokens(system), "a gateway's token"))

    system.enable(APP)
    note()
    had = node_tokens(system)
    gateway = system.egress(APP)["dedicated_ips"][0]
    system.stack.manage("gateway", "rebuild", gateway["id"])
    wait_for("it is rebuilt", lambda: _rebuilt(system, gateway["id"]), 240)
    # The rebuild's routes have ended their polls.
    wait_for("the nodes go on with new credentials", lambda: not had & node_tokens(system), 240)
    note()
    for secret in system.stack.manage("shell", "--no-imports", "-c", ENROLMENT).split():
        found[secret] = "an enrolment secret"
    system.disable(APP)
    return found


def _rebuilt(system: System, gateway: str) -> bool:
    script = f"""
from egress.control.models import Event, Gateway
row = Gateway.objects.get(pk="{gateway}")
was = Event.objects.filter(gateway=row, subject="gateway.status", new="maintenance").exists()
print(was and row.provisioning_status)
"""
    return system.stack.manage("shell", "--no-imports", "-c", script).strip() == "ready"


def leaks(content: bytes, secrets: Iterable[str]) -> set[str]:
    return {secret for secret in secrets if secret.encode() in content}


def kinds(secrets: dict[str, str], found: Iterable[str]) -> set[str]:
    return {secrets[secret] for secret in found}


def test_all_kinds_of_secrets_were_there(secrets: dict[str, str]) -> None:
    """Else the others show nothing."""
    assert len(set(secrets.values())) == 10


def test_no_log_holds_one(system: System, secrets: dict[str, str]) -> None:
    logs = [path for path in system.stack.state.rglob("*.log") if path.is_file()]
    assert {"worker.log", "web.log", "agents.log", "lab.log", "stripe.log"} <= {path.name for path in logs}
    assert {path: held for path in logs if (held := kinds(secrets, leaks(path.read_bytes(), secrets)))} == {}


def test_the_database_holds_none(system: System, secrets: dict[str, str]) -> None:
    """The file's bytes: every row and event, deleted ones too."""
    files = list(system.stack.state.glob("sluicegate.sqlite3*"))
    assert sum(path.stat().st_size for path in files) > 10_000
    assert {path: held for path in files if (held := kinds(secrets, leaks(path.read_bytes(), secrets)))} == {}


def processes() -> Iterator[Path]:
    yield from (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def test_no_process_list_shows_one(secrets: dict[str, str]) -> None:
    shown = b""
    for process in processes():
        try:
            shown += (process / "cmdline").read_bytes()
        except OSError:
            continue
    assert kinds(secrets, leaks(shown, secrets)) == set()


def test_only_the_control_planes_own_processes_have_any_in_their_environment(
    system: System, secrets: dict[str, str]
) -> None:
    """The portal's settings come from there, and the stand-in's for Stripe; nothing else does."""
    own = {str(pid) for pid in marked(system.stack.state)}
    held: dict[str, set[str]] = {}
    for process in processes():
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if found := kinds(secrets, leaks(environment, secrets)):
            assert process.name in own, command
            held[command.replace(b"\0", b" ").decode()[:200]] = found
    assert held
    stripes = {"Stripe's key", "the webhooks' secret"}
    assert set().union(*held.values()) == {"SECRET_KEY", "the provider's token", *stripes}
    assert [kind for command, kind in held.items() if "billing.standin" in command] == [stripes]
    for node in NODE_NAMES:
        environment = system.lab.exec(APP, ["cat", "/proc/self/environ"], node=node).stdout.encode()
        assert environment
        assert leaks(environment, secrets) == set()


def test_no_page_of_the_admin_shows_one_or_a_hash(system: System, secrets: dict[str, str]) -> None:
    operator = Visitor(system.url)
    words = {"username": system.seed["admin"], "password": system.seed["password"]}
    operator.post("/admin/login/", page="/admin/login/", **words)
    seen = {"/admin/"}
    waiting = ["/admin/"]
    while waiting and len(seen) < 80:
        status, page = operator.get(waiting.pop(0))
        assert status == 200
        assert kinds(secrets, leaks(page.encode(), secrets)) == set()
        assert not HASH.search(page)
        links = re.findall(r'href="(/admin/(?:control|accounts)/[\w/-]*)"', page)
        new = {link for link in links if "delete" not in link and "history" not in link} - seen
        seen |= new
        waiting += sorted(new)
    assert {name for name in ("cluster", "node", "gateway", "event", "apitoken") if f"/{name}/" in "".join(seen)} == {
        "cluster", "node", "gateway", "event", "apitoken",
    }  # fmt: skip


def test_files_that_hold_one_are_their_owners_alone(system: System, secrets: dict[str, str]) -> None:
    state = system.stack.state
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for node in NODE_NAMES:
        assert stat.S_IMODE(system.node_state(node).stat().st_mode) == 0o700
    holders = []
    for path in state.rglob("*"):
        # Below the lab's folder is the cloud's and its machines' own; the nodes' state was looked at above.
        if not path.is_file() or path.is_symlink() or path.stat().st_size > 10_000_000:
            continue
        if leaks(path.read_bytes(), secrets):
            holders.append(path)
    assert state / "env" in holders
    readable = {path for path in holders if stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert readable == set()


def test_agents_went_on_with_new_credentials_and_nobody_was_alarmed(
    system: System, secrets: dict[str, str], alarms_before: int
) -> None:
    assert sum(kind == "a node's token" for kind in secrets.values()) >= 2 * len(NODE_NAMES)
    # Two, and the rebuilt one's new one.
    assert sum(kind == "a gateway's token" for kind in secrets.values()) >= 3
    assert alarms(system) == alarms_before
