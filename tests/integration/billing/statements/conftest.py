import pytest

from billing.statements import metered


@pytest.fixture(autouse=True)
def _ledger_by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody meter, but where a test asks for it: the ledger is what a test writes, with no events behind it."""
    if "metering" not in request.fixturenames:
        monkeypatch.setattr(metered, "close_hours", lambda _until, _seconds: True)


@pytest.fixture
def metering() -> None:
    """Let hours be metered from events."""
