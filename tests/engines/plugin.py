"""A pytest plugin: integration tests that use the database run on SQLite and on PostgreSQL; costly ones with --full,
and those that are `on_postgresql` nowhere else.

Each process of the tests has one PostgreSQL server, started when a test first needs it; the database in use is
swapped between tests. What runs on PostgreSQL is of the kind `postgres`, what asks for a Redis of the kind `redis`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .servers import postgresql_server, redis_server, why_no_postgresql, why_no_redis

INTEGRATION = Path(__file__).parents[1] / "integration"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let integration tests that use the database run on both engines."""
    if not metafunc.definition.path.is_relative_to(INTEGRATION):
        return
    if "db" in metafunc.fixturenames or metafunc.definition.get_closest_marker("django_db"):
        costly = [pytest.mark.full] if metafunc.definition.get_closest_marker("costly") else []
        on_postgresql = pytest.param("postgresql", marks=[pytest.mark.postgres, *costly])
        others = [] if metafunc.definition.get_closest_marker("on_postgresql") else ["sqlite"]
        metafunc.parametrize("database_engine", [*others, on_postgresql], indirect=True, scope="session")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what asks for a server of ours."""
    for fixture, kind in (("postgresql", "postgres"), ("redis", "redis")):
        if fixture in getattr(item, "fixturenames", ()):
            item.add_marker(kind)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine can't run, before any fixture is made."""
    for kind, reason in (("postgres", why_no_postgresql), ("redis", why_no_redis)):
        if item.get_closest_marker(kind) and (missing := reason()):
            pytest.skip(missing)


@pytest.fixture(scope="session", autouse=True)
def emptied_quickly() -> None:
    """Replace what Django does after a test that commits."""
    from django.test import TransactionTestCase

    from .empty import after_each_test

    TransactionTestCase._fixture_teardown = after_each_test  # type: ignore[attr-defined]  # there is no setting for it


@pytest.fixture(scope="session")
def postgresql(django_db_blocker: Any) -> Iterator[dict[str, Any]]:
    """Run a server, with an empty migrated database in it; returns that database's settings."""
    from django.db import connections

    with postgresql_server() as folder:
        config: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "sluicegate",
            "HOST": str(folder),
            "USER": "postgres",
            "CONN_MAX_AGE": 0,
        }
        settings = connections.configure_settings({"default": config})["default"]
        with django_db_blocker.unblock():
            before = _use(settings)
            try:
                connections["default"].creation.create_test_db(verbosity=0, serialize=False)
            finally:
                _use(before)
        yield settings


@pytest.fixture(scope="session", autouse=True)
def database_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Put the tests on the engine that they are parametrised with; SQLite is what Django was set up with."""
    engine: str = getattr(request, "param", "sqlite")
    if engine == "sqlite":
        yield engine
        return
    # First, so that the database that it makes is on the engine in Django's settings.
    request.getfixturevalue("django_db_setup")
    blocker = request.getfixturevalue("django_db_blocker")
    settings = request.getfixturevalue("postgresql")
    with pytest.MonkeyPatch.context() as patch:
        # For processes that a test starts with this database's DATABASE_URL: libpq's own variables.
        patch.setenv("PGHOST", settings["HOST"])
        patch.setenv("PGUSER", settings["USER"])
        with blocker.unblock():
            before = _use(settings)
        yield engine
        with blocker.unblock():
            _use(before)


@pytest.fixture
def redis() -> Iterator[str]:
    """Run a Redis; returns its URL for Celery."""
    with redis_server() as url:
        yield url


def _use(settings: dict[str, Any]) -> dict[str, Any]:
    """Let this thread's next query go to another database; returns the present one's settings."""
    from django.contrib.contenttypes.models import ContentType
    from django.db import connections

    before: dict[str, Any] = connections.settings["default"]
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = settings
    # Their numbers differ from one database to the other.
    ContentType.objects.clear_cache()
    return before
