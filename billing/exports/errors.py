"""What can be wrong with a request for an export. Every leaf has a stable code."""

from typing import ClassVar

from egress.control.errors import EgressError


class ExportError(EgressError):
    """This export can't be made."""

    code = "export_error"


class MonthUnknown(ExportError):
    """The month isn't one; write it as YYYY-MM, such as 2026-10."""

    code = "month_unknown"


class MonthInFuture(ExportError):
    """This month hasn't begun, so there is nothing to export yet; choose the present one or an earlier one."""

    code = "month_in_future"


class FormatUnknown(ExportError):
    """There is no such format; choose csv, jsonl or focus."""

    code = "format_unknown"


class GrainUnknown(ExportError):
    """There is no such grain; choose hour or day."""

    code = "grain_unknown"


class TeamUnknown(ExportError):
    """There is no such team among yours; name one by its slug."""

    code = "team_unknown"
    http_status = 404


class ClusterUnknown(ExportError):
    """There is no such cluster; check its name."""

    code = "cluster_unknown"
    http_status = 404


class ExportBusy(ExportError):
    """Many exports are being sent; ask again in half a minute."""

    code = "export_busy"
    http_status = 429
    #: For Retry-After.
    retry_after_seconds: ClassVar[int] = 30


class ExportMismatch(ExportError):
    """The rows don't add up to the statements; run the ledger check before anybody uses this export."""

    code = "export_mismatch"
    http_status = 409


class NotFinished(ExportError):
    """The month isn't finished: not every team that used something has a statement of it yet."""

    code = "not_finished"
    http_status = 409
