"""Which broker a stack settles on."""

from pathlib import Path

import pytest

from portal.demo.stack import Stack


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    return tmp_path


def test_without_redis_messages_pass_through_sqlite(path: Path) -> None:
    stack = Stack(path / "state")
    assert not stack._choose_broker()
    assert stack._settings["CELERY_BROKER_URL"] == f"sqla+sqlite:///{path / 'state/broker.sqlite3'}"


def test_with_redis_the_stack_starts_its_own(path: Path) -> None:
    (path / "redis-server").touch(mode=0o755)
    stack = Stack(path / "state")
    assert stack._choose_broker()
    assert "CELERY_BROKER_URL" not in stack._settings


def test_a_broker_that_is_named_is_used(path: Path) -> None:
    stack = Stack(path / "state", settings={"CELERY_BROKER_URL": "redis://elsewhere"})
    assert not stack._choose_broker()
    assert stack._settings["CELERY_BROKER_URL"] == "redis://elsewhere"
