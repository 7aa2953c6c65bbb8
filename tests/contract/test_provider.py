"""What every Provider does, shown by DigitalOcean's adapter with the real pydo against the lab's API."""

import contextlib
import time
from collections.abc import Callable

import pytest

from egress.lab.cloud.state import CloudLayout
from egress.provider.base import (
    AccessRefused,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Server,
    Unavailable,
)
from egress.provider.digitalocean import DigitalOcean
from tests.contract.cloudlab import CloudLab, spec, wait_until

TAG = "gateway:sg-test-a"


def creations(lab: CloudLab) -> int:
    return sum(exchange.method == "post" and exchange.path == "/v2/droplets" for exchange in lab.exchanges)


def make_many(lab: CloudLab, count: int, tag: str = "sluicegate:many") -> None:
    for first in range(0, count, 10):
        names = [f"sg-{number}" for number in range(first, min(first + 10, count))]
        answer = lab.request(
            "POST",
            "/v2/droplets",
            {"names": names, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "tags": [tag]},
        )
        assert answer.status == 202, answer.body


@pytest.fixture
def big_lab(serve: Callable[..., CloudLab]) -> CloudLab:
    layout = CloudLayout(public_addresses=("198.18.0.1", "198.18.15.254"), droplet_limit=1000)
    return serve(layout=layout)


def test_a_new_server_has_no_addresses_and_gets_them_with_time(lab: CloudLab, provider: DigitalOcean) -> None:
    lab.hypervisor.held.clear()

    created = provider.create_or_adopt(spec(), tag=TAG)

    assert (created.status, created.public_address, created.private_address) == ("new", None, None)
    lab.hypervisor.held.set()
    lab.settle()
    server = provider.get(created.id)
    assert (server.id, server.name, server.status) == (created.id, "sg-test-a", "active")
    assert (server.public_address, server.private_address) == ("203.0.113.10", "10.110.0.100")
    assert server.tags == spec().tags


def test_the_whole_spec_reaches_the_machine(lab: CloudLab, provider: DigitalOcean) -> None:
    user_data = "#cloud-config\n# ü 😀\n" + "x" * 60_000

    created = provider.create_or_adopt(spec(user_data=user_data, region="fra1", image="debian-12-x64"), tag=TAG)

    droplet = lab.state.droplet(int(created.id))
    assert droplet is not None
    assert (droplet.user_data, droplet.region, droplet.image) == (user_data, "fra1", "debian-12-x64")


def test_a_second_create_adopts_the_first(lab: CloudLab, provider: DigitalOcean) -> None:
    first = provider.create_or_adopt(spec(), tag=TAG)

    assert provider.create_or_adopt(spec(), tag=TAG).id == first.id
    assert creations(lab) == 1


def test_of_duplicates_the_oldest_is_adopted(lab: CloudLab, provider: DigitalOcean) -> None:
    make_many(lab, 3, TAG)
    oldest = min(droplet.id for droplet in lab.state.droplets())

    assert provider.create_or_adopt(spec(), tag=TAG).id == str(oldest)


def test_neighbours_are_those_on_the_same_host(serve: Callable[..., CloudLab]) -> None:
    lab = serve(layout=CloudLayout(hosts=2))
    with contextlib.closing(lab.provider()) as provider:
        first, second, third = (provider.create_or_adopt(spec(name, name), tag=name).id for name in ("a", "b", "c"))

        assert provider.neighbours(first) == {third}
        assert provider.neighbours(second) == frozenset()
        with pytest.raises(NotFound):
            provider.neighbours("1")


def test_the_lab_places_a_pair_badly_on_demand(lab: CloudLab, provider: DigitalOcean) -> None:
    first = provider.create_or_adopt(spec("a", "a"), tag="a").id
    lab.faults.inject("same_host", count=2)
    second, third = (provider.create_or_adopt(spec(name, name), tag=name).id for name in ("b", "c"))
    fourth = provider.create_or_adopt(spec("d", "d"), tag="d").id

    assert provider.neighbours(first) == {second, third}
    assert provider.neighbours(fourth) == frozenset()


def test_neighbours_that_cannot_be_read_are_a_passing_error(lab: CloudLab, provider: DigitalOcean) -> None:
    server = provider.create_or_adopt(spec(), tag=TAG).id
    lab.faults.inject("failed_before", "other")

    with pytest.raises(Unavailable):
        provider.neighbours(server)


def test_tags_that_differ_in_case_only_are_the_same(provider: DigitalOcean) -> None:
    created = provider.create_or_adopt(spec("sg-a", "Gateway:A"), tag="Gateway:A")

    assert [server.id for server in provider.list_by_tag("gateway:a")] == [created.id]


def test_lists_hold_every_server_of_every_page_oldest_first(big_lab: CloudLab) -> None:
    make_many(big_lab, 250)
    big_lab.request("POST", "/v2/droplets", {"name": "x", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"})

    with contextlib.closing(big_lab.provider()) as provider:
        listed = provider.list_by_tag("sluicegate:many")

    assert [server.name for server in listed] == [f"sg-{number}" for number in range(250)]
    lists = [exchange for exchange in big_lab.exchanges if exchange.method == "get"]
    assert len(lists) == 2
    assert all("per_page=200" in exchange.query for exchange in lists)


def test_a_list_that_nothing_matches_is_empty(provider: DigitalOcean) -> None:
    assert provider.list_by_tag("nobody:has-it") == []


def test_deleting_twice_is_no_error(lab: CloudLab, provider: DigitalOcean) -> None:
    created = provider.create_or_adopt(spec(), tag=TAG)
    lab.settle()

    provider.delete(created.id)
    provider.delete(created.id)

    assert provider.list_by_tag(TAG) == []
    wait_until(lambda: int(created.id) not in lab.hypervisor.power)


def test_what_does_not_exist_is_not_found(provider: DigitalOcean) -> None:
    calls: list[Callable[[], object]] = [
        lambda: provider.get("1"),
        lambda: provider.reboot("1"),
        lambda: provider.power_cycle("1"),
        lambda: provider.power_off("1"),
        lambda: provider.power_on("1"),
        lambda: provider.rebuild("1", image="ubuntu-24-04-x64"),
        lambda: provider.action_status("1", "1"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("power_off", "off"),
        ("power_on", "active"),
        ("power_cycle", "active"),
        ("reboot", "active"),
        ("rebuild", "active"),
    ],
)
def test_actions_run_to_their_end_and_keep_the_addresses(
    lab: CloudLab, provider: DigitalOcean, action: str, status: str
) -> None:
    server_id = provider.create_or_adopt(spec(), tag=TAG).id
    lab.settle()
    before = provider.get(server_id)

    options = {"image": "debian-12-x64"} if action == "rebuild" else {}
    action_id = getattr(provider, action)(server_id, **options)

    wait_until(lambda: provider.action_status(server_id, action_id) == "completed")
    after = provider.get(server_id)
    assert after.status == status
    assert (after.public_address, after.private_address) == (before.public_address, before.private_address)
    assert lab.hypervisor.calls[-1] == (action, int(server_id))


@pytest.mark.parametrize("image", ["ubuntu-22-04-x64", "112929454"])
def test_an_image_is_known_by_slug_or_number_with_its_regions(provider: DigitalOcean, image: str) -> None:
    assert "nyc3" in provider.image_regions(image)


@pytest.mark.parametrize("image", ["ubuntu-99-x64", "999"])
def test_an_unknown_image_is_not_found(provider: DigitalOcean, image: str) -> None:
    with pytest.raises(NotFound):
        provider.image_regions(image)


@pytest.mark.parametrize("image", ["", "../account", "a b", "x" * 101])
def test_what_can_not_be_an_image_reaches_nobody(lab: CloudLab, provider: DigitalOcean, image: str) -> None:
    with pytest.raises(Rejected):
        provider.image_regions(image)
    assert lab.exchanges == []


def test_an_action_in_progress_is_seen_and_makes_others_wait(lab: CloudLab, provider: DigitalOcean) -> None:
    server_id = provider.create_or_adopt(spec(), tag=TAG).id
    lab.settle()
    lab.hypervisor.held.clear()
    action_id = provider.power_cycle(server_id)

    assert provider.action_status(server_id, action_id) == "in-progress"
    with pytest.raises(Unavailable, match="busy"):
        provider.rebuild(server_id, image="debian-12-x64")
    with pytest.raises(Unavailable, match="busy"):
        provider.delete(server_id)


def test_an_action_that_failed_says_errored(lab: CloudLab, provider: DigitalOcean) -> None:
    server_id = provider.create_or_adopt(spec(), tag=TAG).id
    lab.settle()
    lab.hypervisor.fail.add("power_cycle")

    action_id = provider.power_cycle(server_id)

    wait_until(lambda: provider.action_status(server_id, action_id) == "errored")


@pytest.mark.parametrize(
    ("fault", "options", "error", "made"),
    [
        ("rate_limited", {"retry_after_seconds": 7}, RateLimited, 0),
        ("failed_before", {}, OutcomeUnknown, 0),
        ("failed_before", {"status": 503}, OutcomeUnknown, 0),
        ("failed_after", {}, OutcomeUnknown, 1),
        ("failed_after", {"status": 502}, OutcomeUnknown, 1),
        ("failed_after", {"status": 504}, OutcomeUnknown, 1),
        ("dropped_before", {}, OutcomeUnknown, 0),
        ("dropped", {}, OutcomeUnknown, 1),
        ("no_capacity", {}, NoCapacity, 0),
        ("token_refused", {}, AccessRefused, 0),
    ],
)
def test_a_faulty_create_is_sent_once_and_the_next_call_ends_with_one_server(
    lab: CloudLab, provider: DigitalOcean, fault: str, options: dict[str, int], error: type[ProviderError], made: int
) -> None:
    lab.faults.inject(fault, "create", **options)

    with pytest.raises(ProviderError) as raised:
        provider.create_or_adopt(spec(), tag=TAG)

    assert type(raised.value) is error
    assert (creations(lab), len(lab.state.droplets())) == (1, made)
    with contextlib.closing(lab.provider()) as another:
        server = another.create_or_adopt(spec(), tag=TAG)
    assert [str(droplet.id) for droplet in lab.state.droplets()] == [server.id]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limited", RateLimited),
        ("failed_before", Unavailable),
        ("failed_after", Unavailable),
        ("dropped_before", Unavailable),
        ("dropped", Unavailable),
        ("token_refused", AccessRefused),
    ],
)
@pytest.mark.parametrize("operation", ["list", "get", "delete", "action_status"])
def test_faults_of_repeatable_calls_are_typed_and_not_retried(
    lab: CloudLab, provider: DigitalOcean, operation: str, fault: str, error: type[ProviderError]
) -> None:
    server_id = provider.create_or_adopt(spec(), tag=TAG).id
    lab.settle()
    action_id = provider.power_off(server_id)
    lab.settle()
    calls: dict[str, Callable[[], object]] = {
        "list": lambda: provider.list_by_tag(TAG),
        "get": lambda: provider.get(server_id),
        "delete": lambda: provider.delete(server_id),
        "action_status": lambda: provider.action_status(server_id, action_id),
    }
    lab.faults.inject(fault, operation)
    before = len(lab.exchanges)

    with pytest.raises(ProviderError) as raised:
        calls[operation]()

    assert type(raised.value) is error
    assert len(lab.exchanges) == before + 1


@pytest.mark.parametrize("fault", ["failed_before", "failed_after", "dropped_before", "dropped"])
def test_an_action_without_an_answer_has_an_unknown_outcome(lab: CloudLab, provider: DigitalOcean, fault: str) -> None:
    server_id = provider.create_or_adopt(spec(), tag=TAG).id
    lab.settle()
    lab.faults.inject(fault, "action")

    with pytest.raises(OutcomeUnknown):
        provider.power_cycle(server_id)


def test_a_slow_create_is_waited_for(lab: CloudLab, provider: DigitalOcean) -> None:
    lab.faults.inject("slow", "create", delay_seconds=0.3)

    assert provider.create_or_adopt(spec(), tag=TAG).status == "new"


def test_a_create_slower_than_the_timeout_is_adopted_later(
    lab: CloudLab, provider: DigitalOcean, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.faults.inject("slow", "create", delay_seconds=1.5)
    patient_list = provider.list_by_tag

    def list_then_lose_patience(tag: str) -> list[Server]:
        listed = patient_list(tag)
        monkeypatch.setattr("egress.provider.digitalocean.READ_TIMEOUT_SECONDS", 0.5)
        return listed

    monkeypatch.setattr(provider, "list_by_tag", list_then_lose_patience)
    with pytest.raises(OutcomeUnknown):
        provider.create_or_adopt(spec(), tag=TAG)

    wait_until(lab.state.droplets)

    monkeypatch.undo()
    server = provider.create_or_adopt(spec(), tag=TAG)
    assert [str(droplet.id) for droplet in lab.state.droplets()] == [server.id]


def test_a_late_create_lands_after_its_call_failed(lab: CloudLab, provider: DigitalOcean) -> None:
    lab.faults.inject("late", "create", delay_seconds=0.3)

    with pytest.raises(OutcomeUnknown):
        provider.create_or_adopt(spec(), tag=TAG)

    wait_until(lab.state.droplets)
    server = provider.create_or_adopt(spec(), tag=TAG)
    assert [str(droplet.id) for droplet in lab.state.droplets()] == [server.id]


def test_a_slow_droplet_stays_new_and_without_addresses_until_it_is_done(lab: CloudLab, provider: DigitalOcean) -> None:
    lab.faults.inject("slow_work", "create", delay_seconds=1)

    created = provider.create_or_adopt(spec(), tag=TAG)

    seen = provider.get(created.id)
    assert (seen.status, seen.public_address) == ("new", None)
    lab.settle()
    seen = provider.get(created.id)
    assert (seen.status, seen.public_address) == ("active", "203.0.113.10")


def test_a_stuck_droplet_stays_new_and_can_be_deleted_once_the_cloud_has_given_it_up(
    serve: Callable[..., CloudLab],
) -> None:
    lab = serve(work_timeout_seconds=1)
    lab.faults.inject("stuck", "create")
    with contextlib.closing(lab.provider()) as provider:
        created = provider.create_or_adopt(spec(), tag=TAG)
        with pytest.raises(Unavailable, match="busy"):
            provider.delete(created.id)
        lab.settle()
        seen = provider.get(created.id)
        assert (seen.status, seen.public_address) == ("new", None)
        provider.delete(created.id)
    assert lab.state.droplets() == []
    assert lab.hypervisor.systems == {}


def test_a_dead_boot_is_active_and_brings_no_user_data_up(lab: CloudLab, provider: DigitalOcean) -> None:
    lab.faults.inject("dead_boot", "create")

    created = provider.create_or_adopt(spec(), tag=TAG)

    lab.settle()
    assert provider.get(created.id).status == "active"
    assert not lab.hypervisor.is_up(int(created.id))
    provider.rebuild(created.id, image="debian-12-x64")
    lab.settle()
    assert lab.hypervisor.is_up(int(created.id))


def test_a_429_that_does_not_say_how_long_to_wait_is_waited_out_until_the_limit_resets(
    lab: CloudLab, provider: DigitalOcean
) -> None:
    lab.faults.inject("rate_limited", "list", retry_after_seconds=0)
    with pytest.raises(RateLimited) as refused:
        provider.list_by_tag(TAG)
    assert "retry-after" not in lab.exchanges[-1].answer_headers
    assert 3_000 <= refused.value.retry_after_seconds <= 3_600


def test_rate_limits_say_how_long_to_wait_and_are_respected(serve: Callable[..., CloudLab]) -> None:
    lab = serve(requests_per_minute=3, clock=lambda: 1_795_000_000.0)
    with contextlib.closing(lab.provider()) as provider:
        for _ in range(3):
            provider.list_by_tag(TAG)
        with pytest.raises(RateLimited) as refused:
            provider.list_by_tag(TAG)
        with pytest.raises(RateLimited) as held:
            provider.list_by_tag(TAG)

    assert refused.value.retry_after_seconds == 60
    assert 1 <= held.value.retry_after_seconds <= 60
    assert len(lab.exchanges) == 4


def test_the_hourly_limit_tells_when_it_resets(serve: Callable[..., CloudLab]) -> None:
    started = time.time()
    lab = serve(requests_per_hour=1, clock=lambda: started)
    with contextlib.closing(lab.provider()) as provider:
        provider.list_by_tag(TAG)
        with pytest.raises(RateLimited) as refused:
            provider.list_by_tag(TAG)

    assert 3000 <= refused.value.retry_after_seconds <= 3600


def test_a_wrong_token_is_refused(lab: CloudLab) -> None:
    with contextlib.closing(lab.provider("dop_v1_wrong")) as provider, pytest.raises(AccessRefused) as refused:
        provider.list_by_tag(TAG)

    assert "dop_v1_wrong" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [{"image": "windows-95"}, {"size": "huge"}, {"region": "atlantis"}, {"vpc_id": "not-a-vpc"}],
)
def test_a_spec_that_the_provider_refuses_is_rejected(
    lab: CloudLab, provider: DigitalOcean, wrong: dict[str, str]
) -> None:
    with pytest.raises(Rejected):
        provider.create_or_adopt(spec(**wrong), tag=TAG)

    assert lab.state.droplets() == []


def test_the_accounts_limit_is_no_capacity(serve: Callable[..., CloudLab]) -> None:
    lab = serve(layout=CloudLayout(droplet_limit=1))
    with contextlib.closing(lab.provider()) as provider:
        provider.create_or_adopt(spec(), tag=TAG)
        with pytest.raises(NoCapacity, match="limit"):
            provider.create_or_adopt(spec("sg-b"), tag="gateway:sg-b")


def test_addresses_that_ran_out_are_no_capacity_and_come_back(serve: Callable[..., CloudLab]) -> None:
    lab = serve(layout=CloudLayout(public_addresses=("203.0.113.10", "203.0.113.10")))
    with contextlib.closing(lab.provider()) as provider:
        first = provider.create_or_adopt(spec(), tag=TAG)
        with pytest.raises(NoCapacity):
            provider.create_or_adopt(spec("sg-b"), tag="gateway:sg-b")
        lab.settle()
        provider.delete(first.id)
        wait_until(lambda: len(lab.state._public) == 1)
        assert provider.create_or_adopt(spec("sg-b"), tag="gateway:sg-b").name == "sg-b"
