"""The ASGI application."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application

from egress.wire.messages import PREFIX

from .bounds import Application, BoundedBodies, Receive, Scope, Send

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")


def _beside(agents: Application, pages: Application) -> Application:
    """Return the application that has requests under the agents' prefix served by `agents`, others by `pages`."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_agents = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        await (agents if is_agents else pages)(scope, receive, send)

    return serve


_pages = get_asgi_application()
from egress.control.agents import api as agent_api  # noqa: E402  # its models can be loaded now

application = BoundedBodies(_beside(agent_api.application, _pages))
settings.SECRET_KEY  # noqa: B018  # reading it raises where there is none: better now than at the first log-in
