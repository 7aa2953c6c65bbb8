"""The pages' addresses."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import billing_views, exports, views
from .forms import LogInForm

app_name = "web"
urlpatterns = [
    path("", views.apps, name="apps"),
    path("apps/<uuid:app_id>/", views.app, name="app"),
    path("apps/<uuid:app_id>/egress/enable/", views.enable, name="enable"),
    path("apps/<uuid:app_id>/egress/disable/", views.disable, name="disable"),
    path("apps/<uuid:app_id>/egress/retry/", views.retry, name="retry"),
    path("apps/<uuid:app_id>/egress/outage/", views.outage, name="outage"),
    path("billing/", billing_views.teams, name="billing"),
    path("teams/<slug:team>/billing/", billing_views.overview, name="billing-overview"),
    path("teams/<slug:team>/billing/apps/<uuid:app_id>/", billing_views.usage, name="billing-usage"),
    path("teams/<slug:team>/billing/statements/", billing_views.statements, name="billing-statements"),
    path(
        "teams/<slug:team>/billing/statements/<uuid:statement_id>/", billing_views.statement, name="billing-statement"
    ),
    path("teams/<slug:team>/billing/payment/", billing_views.payment, name="billing-payment"),
    path("teams/<slug:team>/billing/details/", billing_views.details, name="billing-details"),
    path("teams/<slug:team>/billing/limits/", billing_views.limits, name="billing-limits"),
    path("teams/<slug:team>/billing/exports/", billing_views.exports, name="billing-exports"),
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
