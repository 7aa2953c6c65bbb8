"""What can go wrong in the lab."""


class LabError(Exception):
    """The lab can't do that; the message says what to do next, `code` is stable."""

    code = "lab_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code:
            self.code = code


class NotRunning(LabError):
    """There is no lab to talk to."""

    code = "lab_not_running"


class BadRequest(LabError):
    """The command is unknown, or its arguments are not what it takes."""

    code = "bad_request"


class Unknown(LabError):
    """There is no node, container or place of that name."""

    code = "unknown"
