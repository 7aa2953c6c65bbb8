"""A real browser against a real server: Debian's Chromium, uvicorn, and rows made by fixtures."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from egress.control.models import App
from portal.accounts.models import User
from tests.integration.portal import rows

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 30

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not for the whole session: while Playwright is there, nothing else in this thread can run an event loop."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (Debian's package chromium)")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread; our queries here are made between its turns.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(django_db_setup: None) -> Iterator[str]:
    """The ASGI application under uvicorn, static files and all, on a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config("portal.config.asgi:application", lifespan="off", log_config=None, access_log=False)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://localhost:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join(START_SECONDS)


@pytest.fixture
def crew(transactional_db: None) -> rows.Crew:
    return rows.crew()


@pytest.fixture
def app(crew: rows.Crew) -> App:
    rows.node(crew.cluster, 0, containers={"shop-api": 2})
    rows.node(crew.cluster, 1, containers={"shop-api": 2})
    return rows.app(crew)


@pytest.fixture
def open_page(chromium: Browser, server: str, transactional_db: None) -> Iterator[Open]:
    """Open pages in contexts of their own; what the browser complains of (scripts, policy, files) is a failure."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.type} at {message.location.get('url')}: {message.text}")

    def make(width: int = 1440, *, log_in_as: str = "", **options: object) -> Page:
        context = chromium.new_context(base_url=server, viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(START_SECONDS * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(f"script failed: {error}"))
        if log_in_as:
            context.add_cookies([{"name": "sessionid", "value": session_of(log_in_as), "url": server}])
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def session_of(email: str) -> str:
    """Log somebody in past the form, which has tests of its own."""
    client = Client()
    client.force_login(User.objects.get(email=email))
    return client.cookies["sessionid"].value
