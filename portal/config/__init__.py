"""The Django project: settings, addresses, ASGI and Celery."""

from .celery import celery_app

__all__ = ["celery_app"]
