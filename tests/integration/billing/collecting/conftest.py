from collections.abc import Iterator

import pytest
from pytest_django import Settings

from .stripe_side import KEY, SECRET, StripeSide, never_hurry, running_stripe

never_hurry()


@pytest.fixture(scope="module")
def _stripe_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StripeSide]:
    with running_stripe(tmp_path_factory.mktemp("stripe") / "state") as running:
        yield running


@pytest.fixture
def stripe_side(_stripe_process: StripeSide, settings: Settings) -> Iterator[StripeSide]:
    """Stripe without faults; it is one for all tests of a file, each with a team of its own."""
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    settings.STRIPE_API_URL = _stripe_process.url
    # Other threads wouldn't see what a test's transaction made.
    settings.STRIPE_AT_ONCE = 1
    yield _stripe_process
    _stripe_process.control("DELETE", "faults")
