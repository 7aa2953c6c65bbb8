"""Export a month of usage and charges: `manage.py export_usage --month 2026-10 --format focus --out october.csv`."""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.exports.errors import TeamUnknown
from billing.exports.folder import PART, put, settle
from billing.exports.selection import Format, Grain, Selection, cluster_of, format_of, grain_of, month_of
from billing.exports.stream import Tally, sums, write
from egress.control.errors import EgressError
from portal.accounts.models import Team


class Command(BaseCommand):
    """Export a month of usage and charges."""

    help = "Export a month of usage and charges; of teams without a statement of it, an estimate."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what is exported, and how."""
        parser.add_argument("--month", required=True, metavar="YYYY-MM")
        parser.add_argument("--format", required=True, choices=[form.value for form in Format])
        parser.add_argument("--grain", default=Grain.DAY.value, choices=[grain.value for grain in Grain])
        parser.add_argument("--team", default="", metavar="SLUG", help="only this team")
        parser.add_argument("--cluster", default="", metavar="NAME", help="only what belongs to this cluster")
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="written whole or not at all; else standard output"
        )

    def handle(self, *, month: str, team: str, cluster: str, out: Path | None, grain: str, **options: Any) -> None:
        """Export it. Raises CommandError with the reason when it can't be done."""
        tally = Tally()
        try:
            selection = Selection(month=month_of(month), team=_team(team), cluster=cluster_of(cluster))
            chunks = write(selection, format_of(options["format"]), grain_of(grain), tally)
            if out is None:
                for chunk in chunks:
                    self.stdout.write(chunk.decode(), ending="")
            else:
                _store(chunks, out)
        except (EgressError, OSError) as error:
            raise CommandError(str(error)) from None
        amounts = ", ".join(f"{amount} {currency}" for currency, amount in sums(tally.amounts).items())
        self.stderr.write(f"{tally.rows} rows{f', {amounts}' if amounts else ''}")


def _team(slug: str) -> Team | None:
    if not slug:
        return None
    team = Team.objects.filter(slug=slug).first()
    if team is None:
        raise TeamUnknown(f"There is no team {slug}; check its slug.")
    return team


def _store(chunks: Iterator[bytes], path: Path) -> None:
    part = path.with_name(f"{path.name}{PART}")
    with part.open("wb") as file:
        file.writelines(chunks)
        settle(file)
    put(part)
