import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def a_lab(settings: Settings) -> None:
    settings.DIGITALOCEAN_API_URL = "https://127.0.0.1:8443"
    # Other threads wouldn't see what a test's transaction made.
    settings.STRIPE_AT_ONCE = 1
