"""The pages' addresses."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import exports, views
from .forms import LogInForm

app_name = "web"
urlpatterns = [
    path("", views.apps, name="apps"),
    path("apps/<uuid:app_id>/", views.app, name="app"),
    path("apps/<uuid:app_id>/egress/enable/", views.enable, name="enable"),
    path("apps/<uuid:app_id>/egress/disable/", views.disable, name="disable"),
    path("apps/<uuid:app_id>/egress/retry/", views.retry, name="retry"),
    path("apps/<uuid:app_id>/egress/outage/", views.outage, name="outage"),
    path("notifications/", views.notifications, name="notifications"),
    path("notifications/<int:notification_id>/seen/", views.seen, name="seen"),
    path("billing/export/", exports.export, name="export"),
    path(
        "login/",
        LoginView.as_view(authentication_form=LogInForm, redirect_authenticated_user=True),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
]
