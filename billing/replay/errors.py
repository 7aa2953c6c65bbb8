"""Why nothing is played."""

from egress.control.errors import EgressError


class ReplayRefused(EgressError):
    """Made-up history isn't for this installation."""

    code = "replay_refused"


class ReplayDisturbed(EgressError):
    """Somebody else meters in this database while history is played: stop its workers, and start again."""

    code = "replay_disturbed"
