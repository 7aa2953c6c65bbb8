from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.collecting.dunning import Act, Disable, Facts, Nothing, Policy, Remind, Warn, next_act

BEGAN = datetime(2026, 11, 2, 8, tzinfo=UTC)
POLICY = Policy(reminder_days=(0, 3, 7), disables=False, grace_days=14, warning_days=5, hold_days=10)
STRICT = replace(POLICY, disables=True)


def act(day: float, policy: Policy = POLICY, **facts: object) -> Act:
    return next_act(Facts(now=BEGAN + timedelta(days=day), began_at=BEGAN, **facts), policy)  # type: ignore[arg-type]


@pytest.mark.parametrize(("day", "reminded", "expected"), [
    (0, [], Remind(0)),
    (0.5, [0], Nothing()),
    (2.9, [0], Nothing()),
    (3, [0], Remind(3)),
    (7, [0, 3], Remind(7)),
    (60, [0, 3, 7], Nothing()),
    # Nobody gets three at once after an absence, and none that is out of date.
    (9, [], Remind(7)),
    (9, [7], Nothing()),
])  # fmt: skip
def test_reminders_come_on_their_days_and_once(day: float, reminded: list[int], expected: Act) -> None:
    assert act(day, reminded=frozenset(reminded)) == expected


def test_by_default_nothing_is_ever_disabled() -> None:
    assert act(500, reminded=frozenset({7})) == Nothing()


def test_the_warning_names_a_date_that_leaves_its_days() -> None:
    assert act(8.9, STRICT, reminded=frozenset({7})) == Nothing()
    assert act(9, STRICT) == Warn(BEGAN + timedelta(days=14))
    # Whoever is warned late has as many days.
    assert act(40, STRICT) == Warn(BEGAN + timedelta(days=45))


def test_it_is_disabled_on_the_date_when_the_warning_was_sent_in_time() -> None:
    told = {"told_date": BEGAN + timedelta(days=14), "reminded": frozenset({7})}
    sent = BEGAN + timedelta(days=9)
    assert act(13.9, STRICT, warned_at=sent, **told) == Nothing()
    assert act(14, STRICT, warned_at=sent, **told) == Disable(BEGAN + timedelta(days=24))
    assert act(14, replace(STRICT, hold_days=0), warned_at=sent, **told) == Disable(None)


def test_a_warning_that_was_sent_late_puts_it_off() -> None:
    told = {"told_date": BEGAN + timedelta(days=14), "reminded": frozenset({7})}
    late = BEGAN + timedelta(days=12)
    assert act(16.9, STRICT, warned_at=late, **told) == Nothing()
    assert isinstance(act(17, STRICT, warned_at=late, **told), Disable)


def test_without_a_sent_warning_nothing_is_disabled_ever() -> None:
    assert act(900, STRICT, told_date=BEGAN + timedelta(days=14), reminded=frozenset({7})) == Nothing()


def test_what_is_disabled_is_left_alone() -> None:
    told = {"told_date": BEGAN, "warned_at": BEGAN}
    assert act(900, STRICT, disabled_at=BEGAN + timedelta(days=20), **told) == Nothing()


@given(
    grace=st.integers(1, 40),
    warning=st.integers(1, 40),
    step_hours=st.integers(1, 200),
    mail_lag_hours=st.integers(0, 900),
    starts_after_days=st.integers(0, 60),
)
def test_nobody_is_disabled_before_grace_warning_and_the_told_date(
    grace: int, warning: int, step_hours: int, mail_lag_hours: int, starts_after_days: int
) -> None:
    policy = replace(STRICT, grace_days=grace, warning_days=warning)
    facts = Facts(now=BEGAN + timedelta(days=starts_after_days), began_at=BEGAN)
    written_at = None
    for _ in range(5_000):
        match next_act(facts, policy):
            case Remind(day):
                facts = replace(facts, reminded=facts.reminded | {day})
            case Warn(on):
                assert facts.told_date is None
                written_at, facts = facts.now, replace(facts, told_date=on)
            case Disable():
                assert facts.told_date
                assert facts.warned_at
                assert facts.now >= max(BEGAN + timedelta(days=grace), facts.told_date)
                assert facts.now >= facts.warned_at + timedelta(days=warning)
                return
        facts = replace(facts, now=facts.now + timedelta(hours=step_hours))
        if written_at and not facts.warned_at and facts.now >= written_at + timedelta(hours=mail_lag_hours):
            facts = replace(facts, warned_at=facts.now)
    pytest.fail("never disabled")
