"""Tell a team's owners when its month has come to 50, 80 and 100 % of its budget: each once a month.

Level-triggered: a look compares what the month came to with what was told, and tells the highest level that is reached
if neither it nor a higher one was. What was told is a notice under a key, written with its mails in one transaction, so
a look may run twice, at once with another, late, or die at any line. A budget that is changed is told of anew.
"""

import logging
from collections.abc import Collection
from datetime import datetime
from time import monotonic

from django.db.models import F

from billing import words
from billing.models import BillingAccount, BudgetLook, Notice
from billing.notices import notify
from billing.rating.errors import RatingError
from billing.statements.month import outlook
from egress.control import clock, installation

log = logging.getLogger(__name__)

#: Percent of the budget.
LEVELS = (50, 80, 100)
#: In one look; the next takes the rest.
BATCH = 200
#: A run ends after so long; the next goes on with those that weren't looked at for longest.
RUN_SECONDS = 20.0


def level_reached(cents: int, budget_cents: int) -> int:
    """Return the highest level that `cents` reach, 0 for none. Pure."""
    return max((level for level in LEVELS if cents * 100 >= budget_cents * level), default=0)


def to_tell(reached: int, told: Collection[int]) -> int:
    """Return the level to tell now, 0 for none: what is past once a higher one was told. Pure."""
    return reached if reached > max(told, default=0) else 0


def look() -> None:
    """Look at the accounts that have a budget, those that weren't for longest first. Nothing while all stands still."""
    if installation.why_still():
        return
    ends_at = monotonic() + RUN_SECONDS
    accounts = BillingAccount.objects.filter(budget_cents__gt=0, closed_at=None).select_related("team")
    for account in accounts.order_by(F("budget_look__looked_at").asc(nulls_first=True), "pk")[:BATCH]:
        if monotonic() > ends_at:
            break
        _look_at(account, clock.now())
        BudgetLook.objects.update_or_create(account=account, defaults={"looked_at": clock.unmoved()})


def _look_at(account: BillingAccount, now: datetime) -> None:
    budget = account.budget_cents
    assert budget
    try:
        seen = outlook(account.team, now, account.currency)
    except RatingError as error:
        # The month's close says it where an operator sees it; other teams' budgets mustn't wait for it.
        log.warning("the month of %s can't be rated for its budget: %s", account.team, error)
        return
    draft = seen.draft
    key = f"budget:{now:%Y-%m}:{budget}:"
    told = Notice.objects.filter(team=account.team, key__startswith=key).values_list("key", flat=True)
    level = to_tell(level_reached(draft.total_cents, budget), [int(each.rpartition(":")[2]) for each in told])
    if not level:
        return
    facts = {
        "level": level,
        "month": f"{now:%B %Y}",
        "budget": words.money(budget, draft.currency),
        "cost": words.money(draft.total_cents, draft.currency),
        "forecast": words.money(seen.forecast_cents, draft.currency),
    }
    subject = f"{account.team}: {level} % of the budget for {now:%B} is reached"
    path = f"/teams/{account.team.slug}/billing/"
    notify(account.team, kind="budget", key=f"{key}{level}", subject=subject, path=path, **facts)
