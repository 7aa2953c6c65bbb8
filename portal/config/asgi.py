"""The ASGI application."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application

from .bounds import BoundedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")

application = BoundedBodies(get_asgi_application())
settings.SECRET_KEY  # noqa: B018  # reading it raises where there is none: better now than at the first log-in
