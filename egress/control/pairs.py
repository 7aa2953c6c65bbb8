"""The numbers by which nodes know pairs."""

from itertools import chain

from egress.wire.messages import MAX_ROUTES

from .errors import ClusterFull
from .models import Assignment, AssignmentStatus

MAX_PAIR = 65_535


def free_pair(cluster_id: int) -> int:
    """Return the first free number after the one given out last, so that a number rests as long as possible.

    Raises ClusterFull.
    """
    in_cluster = Assignment.objects.filter(cluster_id=cluster_id)
    unreleased = in_cluster.exclude(status=AssignmentStatus.RELEASED)
    used = set(unreleased.values_list("pair", flat=True))
    if len(used) >= MAX_ROUTES:
        raise ClusterFull
    last = in_cluster.order_by("-created_at").values_list("pair", flat=True).first() or 0
    return next(pair for pair in chain(range(last + 1, MAX_PAIR + 1), range(1, last + 1)) if pair not in used)
