"""An app whose egress was withdrawn for unpaid invoices, with its addresses held: why, until when, where to pay."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from egress.control import clock
from egress.control.models import App, Assignment, AssignmentStatus
from egress.control.overview import egress_overviews
from egress.control.selectors import egress_view
from egress.control.transitions import assignment_transition
from egress.control.withdrawal import egress_resume, egress_withdraw
from portal.web.page import CALM_SECONDS, app_page
from tests.integration.portal import rows

Clients = Callable[[str], Client]
LABEL, REASON = "Disabled, addresses held", "invoices are unpaid"


def withdraw(app: App, *, drained: bool = True, days: int = 7) -> str:
    """Take its egress away; returns the date as pages have it."""
    until = clock.now() + timedelta(days=days)
    assignment = egress_withdraw(app=app, reason=REASON, held_until=until)
    assert assignment
    if drained:
        assignment_transition(assignment=assignment, to=AssignmentStatus.DRAINING)
    return f"{until:%Y-%m-%d %H:%M} UTC"


@pytest.mark.costly
@pytest.mark.parametrize("drained", [True, False])
def test_page_list_and_api_say_why_until_when_and_where_to_pay(
    client_of: Clients, crew: rows.Crew, app: App, *, drained: bool
) -> None:
    rows.bring(app, "active", by=crew.owner)
    until = withdraw(app, drained=drained)
    pay = reverse("web:billing-overview", args=[crew.team.slug])

    page = client_of("viewer").get(reverse("web:app", args=[app.pk])).content.decode()
    for words in (LABEL, REASON, until, pay, *rows.ADDRESSES):
        assert words in page
    assert "Switching off" not in page
    listed = client_of("viewer").get(reverse("web:apps")).content.decode()
    for words in (LABEL, REASON.capitalize(), pay):
        assert words in listed

    _, secret = rows.token(crew)
    headers = {"Authorization": f"Token {secret}"}
    told = Client().get(f"/api/v1/apps/{app.pk}/egress/", headers=headers).json()
    assert told["state"] == "draining"
    assert told["error"]["code"] == "addresses_held"
    for words in (REASON, until, pay):
        assert words in told["error"]["message"]


def test_nothing_is_under_way_while_it_is_held_and_all_goes_on_after(crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    withdraw(app)
    # A page that waits a week doesn't ask each second.
    assert app_page(app, crew.owner).look_again_seconds == CALM_SECONDS
    Assignment.objects.update(held_until=clock.now() - timedelta(seconds=1))
    view = egress_view(app)
    assert (view.hold, view.error_code, view.busy) == (None, "", True)
    assert app_page(app, crew.owner).state.label == "Switching off"


def test_what_is_given_back_is_held_no_more(crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    withdraw(app, drained=False)
    egress_resume(app=app, reason="invoices are paid")
    assert (egress_view(app).hold, egress_view(app).status) == (None, "active")


def test_the_list_asks_no_more_however_many_are_held(crew: rows.Crew) -> None:
    apps = [rows.app(crew, f"app-{number}") for number in range(6)]
    for number, each in enumerate(apps):
        # No two gateways have the same address.
        rows.bring(each, "active", by=crew.owner, addresses=(f"203.0.113.{number}", f"203.0.113.{100 + number}"))

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            holds = [each.hold for each in egress_overviews(apps)]
        assert sum(hold is not None and hold.reason == REASON for hold in holds) == held
        return len(queries)

    held = 0
    before = asked()
    for each in apps[:2]:
        withdraw(each)
    held = 2
    few = asked()
    for each in apps[2:]:
        withdraw(each)
    held = 6
    assert few == asked() == before + 1, "one for reasons"
