"""The control socket's commands that make the cloud API fail."""

from typing import Any

from .arguments import Arguments
from .arguments import take as _take
from .cloud.faults import Faults
from .control import Command, Send
from .errors import BadRequest, LabError


class FaultCommands:
    """Commands on the faults of a lab's cloud API; None in a lab without one."""

    def __init__(self, faults: Faults | None) -> None:
        self._faults = faults

    def table(self) -> dict[str, Command]:
        """Return the commands by name."""
        return {"fault": self._fault, "faults": self._list_faults, "faults-clear": self._clear_faults}

    async def _fault(self, arguments: Arguments, _: Send) -> Any:
        kind, operation, count, delay, retry_after, status = _take(
            arguments, kind=str, operation="*", count=1, delay_seconds=5.0, retry_after_seconds=1, status=500
        )
        try:
            self._cloud_faults().inject(
                kind, operation, count, delay_seconds=delay, retry_after_seconds=retry_after, status=status
            )
        except ValueError as error:
            raise BadRequest(str(error)) from None

    async def _list_faults(self, arguments: Arguments, _: Send) -> Any:
        _take(arguments)
        return self._cloud_faults().waiting()

    async def _clear_faults(self, arguments: Arguments, _: Send) -> Any:
        _take(arguments)
        self._cloud_faults().clear()

    def _cloud_faults(self) -> Faults:
        if self._faults is None:
            raise LabError("this lab runs without a cloud API, so nothing can go wrong there")
        return self._faults
