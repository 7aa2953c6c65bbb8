from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from portal.accounts.models import User
from portal.web.simulated import admin_label

MARK = "no packets are steered"


@pytest.fixture
def pages(client_of: Callable[[str], Client], app: object) -> Callable[[], dict[str, str]]:
    operator = Client()
    operator.force_login(User.objects.create(email="op@example.com", is_staff=True, is_superuser=True))
    visitors = {"/": client_of("owner"), "/login/": Client(), "/nowhere/": Client(), "/admin/": operator}
    return lambda: {path: visitor.get(path).content.decode() for path, visitor in visitors.items()}


def test_every_page_is_marked_where_nothing_is_steered(pages: Callable[[], dict[str, str]], settings: Settings) -> None:
    settings.SIMULATED = "no namespaces here"
    assert {path for path, page in pages().items() if MARK not in page} == set()


def test_no_page_is_marked_where_packets_are(pages: Callable[[], dict[str, str]]) -> None:
    assert {path for path, page in pages().items() if MARK in page} == set()
    assert admin_label(None) is None  # type: ignore[arg-type]
