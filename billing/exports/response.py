"""Answer a request with an export while it is made, in bounded memory whatever its size."""

import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

from portal.accounts.models import Team

from .gather import unbilled
from .room import Place
from .selection import Format, Grain, Selection, cluster_of, format_of, grain_of, month_of
from .stream import FORMATS, write

#: Whose the exports of all teams are.
OPERATORS = "operators"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody asked for."""

    selection: Selection
    form: Format
    grain: Grain


def wanted(query: Mapping[str, str], *, team: Team | None) -> Wanted:
    """Read a query: month, format (csv), grain (day), cluster (all). Raises the ExportError that says what is wrong."""
    month = month_of(query.get("month", ""))
    return Wanted(
        selection=Selection(month=month, team=team, cluster=cluster_of(query.get("cluster", ""))),
        form=format_of(query.get("format", Format.CSV.value)),
        grain=grain_of(query.get("grain", Grain.DAY.value)),
    )


def download(query: Mapping[str, str], *, team: Team | None) -> "ExportResponse":
    """Return what a query asks for as a file to be stored. Raises ExportError, ExportBusy among them."""
    asked = wanted(query, team=team)
    chunks = write(asked.selection, asked.form, asked.grain)
    return ExportResponse(chunks, asked.form, file_name(asked), whose=str(team.pk) if team else OPERATORS)


def file_name(asked: Wanted) -> str:
    """Return what a file is called, such as focus-1.2-2026-10-day.csv; one with estimates in it says so."""
    form = FORMATS[asked.form]
    estimate = "-estimate" if unbilled(asked.selection).exists() else ""
    return f"{form.name}-{asked.selection.month:%Y-%m}-{asked.grain.value}{estimate}.{form.suffix}"


class ExportResponse(StreamingHttpResponse):
    """A file that is made while it is sent.

    Under ASGI Django collects what a synchronous iterator yields before it sends any of it; here each chunk is made in
    the request's thread, where its database connection is, when the one before is sent.
    """

    def __init__(self, chunks: Iterator[bytes], form: Format, name: str, *, whose: str) -> None:
        """Begin. Raises ExportBusy, and what the first chunk does."""
        self._place = Place(whose)
        try:
            # What fails at once is answered as an error, not with a file that breaks off.
            begun = _begun(next(chunks), chunks)
        except BaseException:
            self._place.leave()
            raise
        super().__init__(self._place.around(begun), content_type=FORMATS[form].content_type)
        # Who goes away before the first byte leaves an answer that nobody closes.
        weakref.finalize(self, self._place.leave)
        self.headers["Content-Disposition"] = f'attachment; filename="{name}"'

    def close(self) -> None:
        """Make room for another: also when the reader went away."""
        self._place.leave()
        super().close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield chunks, each when it is asked for."""
        chunks = iter(self)
        while (chunk := await sync_to_async(_next)(chunks)) is not None:
            yield chunk


def _next(chunks: Iterator[bytes]) -> bytes | None:
    """Return the next chunk; None after the last: a StopIteration can't leave a coroutine."""
    return next(chunks, None)


def _begun(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
