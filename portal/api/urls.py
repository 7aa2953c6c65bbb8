"""The API's addresses. A slash at the end is everybody's own choice: a PUT can't be redirected."""

from django.urls import re_path

from . import views

app_name = "api"
urlpatterns = [
    re_path(r"^apps/?$", views.AppList.as_view(), name="apps"),
    re_path(r"^apps/(?P<app_id>[^/]+)/?$", views.app, name="app"),
    re_path(r"^apps/(?P<app_id>[^/]+)/egress/?$", views.egress, name="egress"),
    re_path(r"", views.nothing),
]
