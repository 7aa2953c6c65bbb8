"""The agent API's addresses."""

from django.urls import path

from . import agent_api

app_name = "agent"
urlpatterns = [
    path("nodes/join", agent_api.nodes_join, name="nodes_join"),
    path("nodes/sync", agent_api.nodes_sync, name="nodes_sync"),
    path("nodes/report", agent_api.nodes_report, name="nodes_report"),
    path("gateways/enrol", agent_api.gateways_enrol, name="gateways_enrol"),
    path("gateways/sync", agent_api.gateways_sync, name="gateways_sync"),
    path("gateways/report", agent_api.gateways_report, name="gateways_report"),
]
