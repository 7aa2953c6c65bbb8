"""The API's addresses. A slash at the end is everybody's own choice: a PUT can't be redirected."""

from django.urls import re_path

from . import billing, exports, operators, views

app_name = "api"
urlpatterns = [
    re_path(r"^apps/?$", views.AppList.as_view(), name="apps"),
    re_path(r"^apps/(?P<app_id>[^/]+)/?$", views.app, name="app"),
    re_path(r"^apps/(?P<app_id>[^/]+)/egress/?$", views.egress, name="egress"),
    re_path(r"^billing/?$", billing.month, name="billing"),
    re_path(r"^billing/statements/?$", billing.StatementList.as_view(), name="billing-statements"),
    re_path(r"^billing/statements/(?P<statement_id>[^/]+)/?$", billing.statement, name="billing-statement"),
    re_path(r"^operator/gateways/(?P<gateway_id>[^/]+)/?$", operators.gateway, name="operator-gateway"),
    re_path(
        rf"^operator/gateways/(?P<gateway_id>[^/]+)/(?P<verb>{'|'.join(operators.GATEWAY_VERBS)})/?$",
        operators.gateway_act,
        name="operator-gateway-act",
    ),
    re_path(r"^operator/rollouts/?$", operators.RolloutList.as_view(), name="operator-rollouts"),
    re_path(r"^operator/rollouts/(?P<rollout_id>[0-9]{1,18})/?$", operators.rollout, name="operator-rollout"),
    re_path(
        rf"^operator/rollouts/(?P<rollout_id>[0-9]{{1,18}})/(?P<verb>{'|'.join(operators.ROLLOUT_VERBS)})/?$",
        operators.rollout_act,
        name="operator-rollout-act",
    ),
    re_path(r"^billing/export/?$", exports.export, name="billing-export"),
    re_path(r"^operator/billing/export/?$", exports.operator_export, name="operator-billing-export"),
    re_path(r"", views.nothing),
]
