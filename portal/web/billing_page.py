"""What billing's pages show, put together once: the month, its chart, what is to be noticed."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings

from billing.models import BillingAccount, Dunning, Invoice
from billing.overview import usage
from billing.overview.month import MonthSoFar, month_so_far
from billing.rating import months
from egress.control.models import App, Event
from portal.accounts.models import Membership, Team

from . import billing_data
from .billing_chart import Chart, draw, in_words
from .billing_guards import is_owner
from .timeline import timeline

#: The pages of a team's billing: address, title.
TABS = (
    ("web:billing-overview", "Overview"),
    ("web:billing-statements", "Statements and invoices"),
    ("web:billing-payment", "Payment"),
    ("web:billing-details", "Billing details"),
    ("web:billing-limits", "Budget and limit"),
    ("web:billing-exports", "Exports"),
)
#: Several days share the room of one name on a phone.
WIDE = {"width": 672, "height": 208, "every": 5}
NARROW = {"width": 304, "height": 184, "every": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all pages of a team's billing have: who sees it, the tabs, and what is to be noticed."""

    team: Team
    account: BillingAccount
    is_owner: bool
    collects: bool
    failed: list[Invoice]
    dunning: Dunning | None
    here: str
    tabs: tuple[tuple[str, str], ...] = TABS

    @property
    def method_needed(self) -> bool:
        """Whether nothing is enabled without a payment method."""
        return bool(settings.BILLING_PAYMENT_METHOD_NEEDED)

    @property
    def wants_method(self) -> bool:
        """Whether a payment method is missing though money is to be taken."""
        return self.collects and not self.account.payment_method


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The overview's facts."""

    month: MonthSoFar
    wide: Chart
    narrow: Chart
    chart_in_words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event of an app's month; `turn` is "begin" or "end" where billable time begins or ends."""

    at: datetime
    text: str
    turn: str


def frame(membership: Membership, here: str) -> Frame:
    """Return what all pages have in common."""
    team = membership.team
    collects = billing_data.collects()
    failed = billing_data.failed_invoices(team) if collects else []
    return Frame(
        team=team,
        account=billing_data.account_of(team),
        is_owner=is_owner(membership),
        collects=collects,
        failed=failed,
        # Only who owes is reminded.
        dunning=billing_data.dunning_of(team) if failed else None,
        here=here,
    )


def overview(team: Team, now: datetime) -> Overview:
    """Put the overview together, as of `now`. Raises RatingError."""
    month = month_so_far(team, now, billing_data.account_of(team).currency)
    return Overview(
        month=month,
        wide=draw(month.days, month.currency, **WIDE),
        narrow=draw(month.days, month.currency, **NARROW),
        chart_in_words=in_words(month.days, month.currency),
    )


def entries(app: App, begin: datetime, end: datetime) -> list[Entry]:
    """Return what an app's billing rests on, in the customer's words, oldest first."""
    events = usage.events_of(app, begin, end)
    turns = usage.turns(events, billed=usage.billed_at(app, begin))
    told = ((event, _words(event)) for event in events)
    return [Entry(at=event.at, text=text, turn=turns.get(event.pk, "")) for event, text in told if text]


def _words(event: Event) -> str:
    return next((entry.text for entry in timeline([event])), "")


def month_named(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Return begin and end of the month that is named, YYYY-MM; of the present one where it isn't one that was."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        first = now
    month = months.month_of(min(first, now))
    return months.begin_of(month), months.end_of(month)


def day_named(text: str, begin: datetime, end: datetime) -> date | None:
    """Return the day that is named, YYYY-MM-DD, if it lies in the month."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day.date() if begin <= day < end else None


def neighbours(begin: datetime, end: datetime, now: datetime) -> tuple[date, date | None]:
    """Return the month before, and the one after if it has begun."""
    before = months.month_of(begin - timedelta(days=1))
    return before, end.date() if end <= now else None
