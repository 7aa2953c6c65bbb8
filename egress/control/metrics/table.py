"""The control plane's metrics by name; docs/metrics.md lists them."""

from egress.wire.exposition import Metric

INFO = Metric(
    "sluicegate_control_info", "gauge", "1; which installation this is, and its version.", ("installation", "version")
)
ASSIGNMENTS = Metric(
    "sluicegate_assignments", "gauge", "Apps' dedicated egress that isn't released, by status.", ("cluster", "status")
)
ASSIGNMENT_CONCERNS = Metric(
    "sluicegate_assignments_of_concern",
    "gauge",
    "Assignments that the admin's filters of these names list; slow is stuck.",
    ("cluster", "concern"),
)
OUTAGES = Metric("sluicegate_pairs_without_gateway", "gauge", "Active pairs with no healthy gateway.", ("cluster",))
GATEWAYS = Metric("sluicegate_gateways", "gauge", "Gateways that aren't deleted.", ("cluster", "status", "health"))
GATEWAY_CONCERNS = Metric(
    "sluicegate_gateways_of_concern",
    "gauge",
    "Gateways that the admin's filters of these names list.",
    ("cluster", "concern"),
)
FINDINGS = Metric(
    "sluicegate_gateway_findings",
    "gauge",
    "Gateways that aren't deleted, by what is the matter with them by all views together.",
    ("cluster", "finding"),
)
CONNTRACK = Metric(
    "sluicegate_gateways_conntrack_use_ratio_max", "gauge", "How full the fullest connection table is.", ("cluster",)
)
PORTS = Metric(
    "sluicegate_gateways_snat_ports_worst_max",
    "gauge",
    "Source ports in use towards one destination, of the gateway with most, of 64,512.",
    ("cluster",),
)
REPAIR_STOPPED = Metric(
    "sluicegate_repair_stopped", "gauge", "1 while repair has stopped itself in the cluster, else 0.", ("cluster",)
)
ROLLOUTS = Metric("sluicegate_rollouts_under_way", "gauge", "Rollouts that haven't ended.", ("cluster", "status"))
NODES = Metric("sluicegate_nodes", "gauge", "Nodes that must know every route.", ("cluster", "health", "dataplane"))
NODE_CONCERNS = Metric(
    "sluicegate_nodes_of_concern",
    "gauge",
    "Nodes that the admin's filters of these names list.",
    ("cluster", "concern"),
)
REVISION = Metric("sluicegate_cluster_revision", "gauge", "The number of the last route change.", ("cluster",))
LAG = Metric(
    "sluicegate_route_lag_seconds",
    "gauge",
    "How long the oldest route change has waited that some live node hasn't applied; 0 when all have.",
    ("cluster",),
)
STRAYS = Metric("sluicegate_stray_servers", "gauge", "Servers in quarantine, which no row knows.", ("concern",))
INSTALLATION = Metric(
    "sluicegate_installation_of_concern",
    "gauge",
    "1 while the whole installation stands still or tidying up is stopped, by the reason.",
    ("concern",),
)
UNSEEN = Metric("sluicegate_security_events_unseen", "gauge", "Security events that nobody has looked into.")
DUE = Metric("sluicegate_reconcile_due", "gauge", "Assignments that are due and that no worker has.")
OVERDUE = Metric(
    "sluicegate_reconcile_overdue_seconds", "gauge", "How long the longest of them has been due; 0 when none is."
)
REDIS = Metric("sluicegate_redis_up", "gauge", "1 while the Redis that counts are kept in answers, else 0.")
QUEUE = Metric(
    "sluicegate_queue_messages", "gauge", "Messages for workers, by whether one has taken them.", ("queue", "state")
)
TASKS = Metric("sluicegate_task_duration_seconds", "histogram", "How long workers' tasks took.", ("task",))
TASK_FAILURES = Metric("sluicegate_task_failures_total", "counter", "Tasks that ended with an error.", ("task",))
PROVIDER_CALLS = Metric(
    "sluicegate_provider_calls_total", "counter", "Calls of the provider's API: ok, or the error's code.", ("outcome",)
)
PROVIDER_REMAINING = Metric(
    "sluicegate_provider_requests_remaining", "gauge", "Requests that the provider's hourly limit still allows."
)
PROVIDER_LIMIT = Metric("sluicegate_provider_requests_limit", "gauge", "The provider's hourly limit of requests.")

METRICS = (
    INFO, ASSIGNMENTS, ASSIGNMENT_CONCERNS, OUTAGES, GATEWAYS, GATEWAY_CONCERNS, FINDINGS, CONNTRACK, PORTS,
    REPAIR_STOPPED, ROLLOUTS, NODES, NODE_CONCERNS, REVISION, LAG,
    STRAYS, INSTALLATION, UNSEEN, DUE, OVERDUE, REDIS, QUEUE, TASKS, TASK_FAILURES, PROVIDER_CALLS, PROVIDER_REMAINING,
    PROVIDER_LIMIT,
)  # fmt: skip
