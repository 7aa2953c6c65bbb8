"""What can go wrong in the control plane, for those who call it. Every leaf has a stable code."""

from typing import ClassVar


class EgressError(Exception):
    """The request can't be carried out."""

    code: ClassVar[str] = "egress_error"
    http_status: ClassVar[int] = 400

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class NotAllowed(EgressError):
    """You may look at this app but not change its egress; ask an owner of the team for the member role."""

    code = "not_allowed"
    http_status = 403


class AdmissionRefused(EgressError):
    """A policy of the platform refuses dedicated egress for this app."""

    code = "admission_refused"
    http_status = 403


class AppUnknown(EgressError):
    """There is no such app among yours; check the id and the team."""

    code = "app_unknown"
    http_status = 404


class StillDisabling(EgressError):
    """Dedicated egress of this app is still being disabled; enable it again once its addresses are released."""

    code = "still_disabling"
    http_status = 409


class NothingToRetry(EgressError):
    """Dedicated egress of this app hasn't failed, so there is nothing to retry."""

    code = "nothing_to_retry"
    http_status = 409


class ClusterFull(EgressError):
    """This app's cluster has no room for another pair of gateways; ask the platform's operators."""

    code = "cluster_full"
    http_status = 409


class NodeGone(EgressError):
    """This node was removed already; there is nothing left to do."""

    code = "node_removed"
    http_status = 409


class GatewayNotInUse(EgressError):
    """Only a gateway of an active pair can be drained or mended; otherwise retry or disable the app's egress."""

    code = "gateway_not_in_use"
    http_status = 409


class GatewayNotDrained(EgressError):
    """This gateway isn't drained, so there is nothing to take back into use."""

    code = "gateway_not_drained"
    http_status = 409


class GatewayBusy(EgressError):
    """Something else is being done to this gateway; wait until it is ready again."""

    code = "gateway_busy"
    http_status = 409


class RolloutRefused(EgressError):
    """This rollout can't begin as it was asked for."""

    code = "rollout_refused"


class RolloutUnderWay(EgressError):
    """Another rollout of this cluster isn't over; wait for its end, or abort it."""

    code = "rollout_under_way"
    http_status = 409


class RolloutNotSo(EgressError):
    """This can't be done with a rollout in its present state; look at it again."""

    code = "rollout_not_so"
    http_status = 409


class PeerNotReady(EgressError):
    """The pair's other gateway isn't ready and healthy, so the app would lose its way out; repair that one first."""

    code = "peer_not_ready"
    http_status = 409


class GatewayLost(EgressError):
    """The gateway's server is gone at the provider: no rebuild brings it back. Replace it: the address is another."""

    code = "gateway_lost"
    http_status = 409


class ClusterInvalid(EgressError):
    """A value that was given for this cluster can't be used."""

    code = "cluster_invalid"


class ClusterInUse(EgressError):
    """Apps of this cluster have dedicated egress, so what their gateways and nodes were built on can't change."""

    code = "cluster_in_use"
    http_status = 409


class StrayGone(EgressError):
    """This server is no longer in quarantine: it is gone at the provider, or its gateway is known again."""

    code = "stray_gone"
    http_status = 409


class NotAPair(EgressError):
    """Only a whole pair in quarantine, of an app that has no dedicated egress now, can be given back to it."""

    code = "not_a_pair"
    http_status = 409


class TransitionNotAllowed(EgressError):
    """The row can't move to that status from the one it has."""

    code = "transition_not_allowed"
    http_status = 409


class TransitionConflict(EgressError):
    """Somebody else moved the row first; look at it again and decide anew."""

    code = "transition_conflict"
    http_status = 409


class LeaseLost(EgressError):
    """Another worker has this row now; leave it alone."""

    code = "lease_lost"
    http_status = 409


# --- what agents are told --------------------------------------------------------------------------------------------


class Unauthorized(EgressError):
    """The bearer token isn't valid here: join or enrol again."""

    code = "unauthorized"
    http_status = 401


class Malformed(EgressError):
    """The message can't be read."""

    code = "malformed_message"


class NoSuchVerb(EgressError):
    """The agent API has no such verb: is the agent newer than the control plane?"""

    code = "no_such_verb"
    http_status = 404


class TooLarge(EgressError):
    """The message is larger than the agent API takes."""

    code = "too_large"
    http_status = 413


class TooManyRequests(EgressError):
    """Too many requests; wait before the next."""

    code = "too_many_requests"
    http_status = 429

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Too many requests: wait {retry_after_seconds} s before the next.")
        self.retry_after_seconds = retry_after_seconds


class WrongAddress(EgressError):
    """Enrolment works only from the gateway's own public address."""

    code = "wrong_address"
    http_status = 403


class WindowClosed(EgressError):
    """The enrolment window of this gateway is closed; an operator opens it by a rebuild."""

    code = "window_closed"
    http_status = 403


class StandsStill(EgressError):
    """The control plane tells nothing new for now: keep what you have, and ask again."""

    code = "stands_still"
    http_status = 503


class NotYet(EgressError):
    """The control plane doesn't know this gateway's address yet; try again in a second."""

    code = "not_yet"
    http_status = 503


class OutsideVpc(EgressError):
    """The node's private address isn't in the cluster's VPC; check the agent's private_address."""

    code = "outside_vpc"
