"""What the adapter tells of its calls, for the metrics: each once, with its outcome and what the limit leaves."""

import contextlib
from collections.abc import Iterator

import pytest

from egress.provider.base import NotFound, RateLimited, Unavailable
from egress.provider.digitalocean import DigitalOcean
from tests.contract.cloudlab import TOKEN, CloudLab

Told = list[tuple[str, int | None, int | None]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def watched(lab: CloudLab, told: Told) -> Iterator[DigitalOcean]:
    provider = DigitalOcean(
        TOKEN, api_url=lab.url, ca_file=str(lab.certificates.ca_file), answered=lambda *call: told.append(call)
    )
    with contextlib.closing(provider):
        yield provider


def test_calls_that_succeed_tell_what_the_limit_leaves(watched: DigitalOcean, told: Told) -> None:
    for _ in range(3):
        watched.list_by_tag("nobody:has-it")
    outcomes, left, limits = zip(*told, strict=True)
    assert outcomes == ("ok",) * 3
    assert len(set(limits)) == 1
    assert limits[0]
    assert left == tuple(limits[0] - number for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("fault", "error"), [("failed_before", Unavailable), ("rate_limited", RateLimited)], ids=["500", "429"]
)
def test_calls_that_fail_are_told_by_the_errors_code(
    lab: CloudLab, watched: DigitalOcean, told: Told, fault: str, error: type[Exception]
) -> None:
    lab.faults.inject(fault, "list")
    with pytest.raises(error):
        watched.list_by_tag("nobody:has-it")
    assert [outcome for outcome, *_ in told] == [error.code]  # type: ignore[attr-defined]


def test_what_is_not_sent_is_not_told(lab: CloudLab, watched: DigitalOcean, told: Told) -> None:
    lab.faults.inject("rate_limited", "list")
    for _ in range(3):
        with pytest.raises(RateLimited):
            watched.list_by_tag("nobody:has-it")
    assert len(told) == 1


def test_a_server_that_is_gone_is_no_failure_of_the_provider(watched: DigitalOcean, told: Told) -> None:
    with pytest.raises(NotFound):
        watched.get("123456")
    assert [outcome for outcome, *_ in told] == ["ok"]


def test_a_provider_that_can_not_be_reached_says_nothing_of_its_limit(told: Told) -> None:
    provider = DigitalOcean(TOKEN, api_url="https://127.0.0.1:1", answered=lambda *call: told.append(call))
    with contextlib.closing(provider), pytest.raises(Unavailable):
        provider.list_by_tag("nobody:has-it")
    assert told == [("provider_unavailable", None, None)]
