"""What the lab's cloud is believed to do like DigitalOcean, asked of DigitalOcean: run by `./dev test-live` only."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from egress.provider.base import NotFound, Server, ServerSpec
from egress.provider.digitalocean import DigitalOcean

pytestmark = pytest.mark.timeout(900)

PATIENCE_SECONDS = 400
TAG = f"gateway:sg-live-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def provider() -> Iterator[DigitalOcean]:
    """DigitalOcean; whatever happens, what was made is deleted."""
    with closing(DigitalOcean(os.environ["DIGITALOCEAN_TOKEN"])) as provider:
        yield provider
        for server in provider.list_by_tag(TAG):
            provider.delete(server.id)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(5)


def is_gone(provider: DigitalOcean, server: Server) -> bool:
    try:
        provider.get(server.id)
    except NotFound:
        return True
    return False


def test_a_server_is_made_once_restarted_in_place_and_deleted(provider: DigitalOcean) -> None:
    spec = ServerSpec(
        name=TAG.replace(":", "-"),
        region=os.environ["DIGITALOCEAN_REGION"],
        size="s-1vcpu-1gb",
        image="ubuntu-24-04-x64",
        user_data="#cloud-config\n",
        vpc_id=os.environ["DIGITALOCEAN_VPC"],
        tags=("sluicegate:test-live", TAG),
    )
    made = provider.create_or_adopt(spec, tag=TAG)
    until(lambda: provider.get(made.id).status == "active")
    assert provider.create_or_adopt(spec, tag=TAG).id == made.id
    before = provider.get(made.id)
    assert before.public_address
    assert before.private_address

    action = provider.power_cycle(made.id)
    until(lambda: provider.action_status(made.id, action) == "completed")
    assert provider.get(made.id).public_address == before.public_address

    provider.delete(made.id)
    until(lambda: is_gone(provider, made))
    assert provider.list_by_tag(TAG) == []
