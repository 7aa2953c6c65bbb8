"""The cluster's route table, as a node holds it: a full `NodeSync`. Pure."""

import dataclasses

from egress.wire.codec import WireError
from egress.wire.messages import NodeSync


def merge(table: NodeSync | None, news: NodeSync) -> NodeSync:
    """Return the table after `news`, itself always full.

    Raises WireError when `news` is a delta that doesn't belong to `table`, or its key for probes isn't hex.
    """
    try:
        bytes.fromhex(news.probe_key)
    except ValueError:
        raise WireError("NodeSync.probe_key: not hex") from None
    if news.full:
        return dataclasses.replace(news, removed=())
    if table is None or table.epoch != news.epoch:
        raise WireError(f"NodeSync: a delta of epoch {news.epoch}, which this node doesn't hold")
    routes = {route.namespace: route for route in table.routes}
    for namespace in news.removed:
        routes.pop(namespace, None)
    routes.update((route.namespace, route) for route in news.routes)
    return dataclasses.replace(news, full=True, removed=(), routes=tuple(routes.values()))


def listed(table: NodeSync) -> frozenset[str]:
    """Return the namespaces whose containers must not start without their rules.

    Those of draining routes aren't among them: their new connections take the shared path.
    """
    return frozenset(route.namespace for route in table.routes if route.state == "active")
