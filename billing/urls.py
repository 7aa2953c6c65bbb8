"""What Stripe calls."""

from django.urls import path

from .collecting.webhook import webhook

app_name = "billing"

urlpatterns = [path("stripe/webhook/", webhook, name="stripe_webhook")]
