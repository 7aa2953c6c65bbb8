"""What all tests share: a database of their own, a broker that only keeps messages (nothing runs eagerly), and
passwords that are hashed at no cost.
"""

from collections.abc import Iterator

import pytest
from django.test import override_settings

from portal.config import celery_app


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    from django.conf import settings

    test = settings.DATABASES["default"].get("TEST", {})
    if test.get("NAME"):
        test["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def _broker_that_keeps_messages() -> Iterator[None]:
    celery_app.conf.update(broker_url="memory://localhost", broker_transport_options={})
    yield
    celery_app.close()


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield
