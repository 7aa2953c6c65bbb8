"""Where each room is reached."""

from django.contrib import admin
from django.urls import include, path

from egress.control.metrics.page import metrics

admin.autodiscover()

urlpatterns = [
    path("", include("portal.web.urls")),
    path("api/v1/", include("portal.api.urls")),
    path("", include("billing.urls")),
    path("metrics", metrics),
    path("admin/", admin.site.urls),
]
