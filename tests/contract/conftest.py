import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egress.provider.digitalocean import DigitalOcean
from tests.contract.cloudlab import Certificates, CloudLab, Exchange, Server, query_of, running

DESCRIPTION = Path(__file__).resolve().parents[2].parent / "shared/digitalocean/openapi-subset.json"
#: Real endpoints that the subset leaves out, and what DigitalOcean answers with HTML or not at all.
UNDESCRIBED = ("/v2/reports/", "/v2/images/", "/v2/nowhere")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.contract)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server(certificates: Certificates) -> Iterator[Server]:
    server = Server(certificates)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def check() -> Callable[[Exchange], None]:
    """Return what holds an exchange against DigitalOcean's own description of its API."""
    if not DESCRIPTION.is_file():
        pytest.skip(f"DigitalOcean's API description isn't at {DESCRIPTION.parent.parent.name}/digitalocean")
    from openapi_core import OpenAPI
    from openapi_core.testing import MockRequest, MockResponse

    api = OpenAPI.from_dict(json.loads(DESCRIPTION.read_text()))

    def checked(exchange: Exchange) -> None:
        request = MockRequest(
            "https://api.digitalocean.com",
            exchange.method,
            exchange.path,
            args=query_of(exchange),
            headers={name.title(): value for name, value in exchange.headers.items()},
            data=exchange.body or None,
        )
        if exchange.by_pydo:
            api.validate_request(request)
        if exchange.status:
            headers = exchange.answer_headers
            response = MockResponse(
                exchange.answer,
                status_code=exchange.status,
                headers=headers,
                content_type=headers.get("content-type", "application/json"),
            )
            api.validate_response(request, response)

    return checked


@pytest.fixture
def serve(server: Server, check: Callable[[Exchange], None]) -> Iterator[Callable[..., CloudLab]]:
    """Return what starts a cloud; in the end everything that was said is checked against the description."""
    with contextlib.ExitStack() as stack:
        labs: list[CloudLab] = []

        def start(**options: Any) -> CloudLab:
            labs.append(stack.enter_context(running(server, **options)))
            return labs[-1]

        yield start
        for exchange in (exchange for lab in labs for exchange in lab.exchanges):
            if not exchange.path.startswith(UNDESCRIBED):
                check(exchange)


@pytest.fixture
def lab(serve: Callable[..., CloudLab]) -> CloudLab:
    return serve()


@pytest.fixture
def provider(lab: CloudLab) -> Iterator[DigitalOcean]:
    with contextlib.closing(lab.provider()) as provider:
        yield provider
