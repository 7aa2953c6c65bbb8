"""Guessing passwords is slow, at every log-in; the counts are shared through Redis, and nobody waits for a dead one."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache, caches
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from portal.accounts.backends import PER_ACCOUNT, PER_ADDRESS
from portal.accounts.limits import Limit
from tests.engines.servers import redis_server
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

TRIES = 2
LOG_INS = [reverse("web:login"), reverse("admin:login")]


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cache.clear()
    for limit in (PER_ACCOUNT, PER_ADDRESS):
        # A window that doesn't end meanwhile.
        monkeypatch.setattr(limit, "_seconds", 10**9)
    # Each attempt costs a slow hash.
    assert (PER_ACCOUNT._times, PER_ADDRESS._times) == (10, 60)
    monkeypatch.setattr(PER_ACCOUNT, "_times", TRIES)
    yield
    cache.clear()
    Limit._away_until = 0.0


def log_in(path: str, email: str, password: str, address: str = "192.0.2.1") -> bytes:
    response = Client(REMOTE_ADDR=address).post(path, {"username": email, "password": password})
    return response.content if response.status_code == 200 else b"in"


@pytest.mark.parametrize("path", LOG_INS)
def test_after_so_many_wrong_passwords_the_right_one_is_refused_too(crew: rows.Crew, path: str) -> None:
    crew.owner.is_staff = True
    crew.owner.save()
    for _ in range(TRIES):
        assert log_in(path, crew.owner.email, "wrong") != b"in"
    assert log_in(path, crew.owner.email.upper(), rows.PASSWORD) != b"in"
    # The true owner, elsewhere, isn't locked out by it; nor is anybody else here.
    assert log_in(path, crew.owner.email, rows.PASSWORD, address="192.0.2.2") == b"in"
    assert log_in(LOG_INS[0], crew.viewer.email, rows.PASSWORD) == b"in"


def test_the_page_says_to_wait(crew: rows.Crew) -> None:
    for _ in range(TRIES):
        log_in(LOG_INS[0], crew.owner.email, "wrong")
    assert b"Too many attempts that failed. Wait" in log_in(LOG_INS[0], crew.owner.email, "wrong")


def test_an_address_that_tries_many_accounts_is_refused(crew: rows.Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PER_ADDRESS, "_times", 2)
    for number in range(2):
        log_in(LOG_INS[0], f"nobody{number}@x.example", "wrong")
    assert log_in(LOG_INS[0], crew.owner.email, rows.PASSWORD) != b"in"
    assert log_in(LOG_INS[0], crew.owner.email, rows.PASSWORD, address="192.0.2.2") == b"in"


def test_names_of_any_length_and_script_are_counted(crew: rows.Crew) -> None:
    for email in ("", "\0", "ü" * 5000, "a b\nc"):
        assert log_in(LOG_INS[0], email, "wrong") != b"in"


@pytest.mark.redis
def test_redis_counts_for_all_processes_and_one_that_dies_limits_nobody(settings: Settings) -> None:
    limit = Limit("test", times=2, seconds=10**9)
    with redis_server() as url:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": url.replace("redis+socket://", "unix://"),
                "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
            }
        }
        assert [limit.count("a"), limit.count("a"), limit.count("b")] == [0, 0, 0]
        # Another process has another connection and sees the same count.
        caches["default"].close()
        assert limit.count("a") > 0
        assert limit.wait_seconds("a") > 0
        assert limit.wait_seconds("b") == 0
    assert limit.count("a") == 0
    assert limit.wait_seconds("a") == 0
    caches["default"].close()
