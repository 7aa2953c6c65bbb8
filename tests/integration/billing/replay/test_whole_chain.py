"""From events to exports: of any history that is played, billing says what a naive model says, to the second and cent.

The model (`model.py`) imports nothing of billing, and is held against numbers that were worked out by hand.
"""

from datetime import date

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from billing.replay.plot import plot_of
from billing.replay.run import replay
from tests.integration.billing.replay.judged import check_all

#: The engines are held against each other by the other files.
pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(600)]

#: Of 28 to 31 days, a leap day and a change of years among them.
FIRST = st.sampled_from([date(2023, 2, 1), date(2024, 1, 1), date(2024, 2, 1), date(2024, 4, 1), date(2023, 12, 1)])
SEEDS = st.integers(0, 2**31)


def play_and_judge(*, seed: int, first: date, count: int, apps: int) -> None:
    with transaction.atomic():
        replay(seed=seed, first=first, count=count, apps=apps)
        check_all(plot_of(seed=seed, first=first, count=count, apps=apps), first, count)
        transaction.set_rollback(True)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, first=FIRST)
def test_any_history_is_billed_as_the_model_says(a_lab: None, db: None, seed: int, first: date) -> None:
    play_and_judge(seed=seed, first=first, count=1, apps=2)


@pytest.mark.full
@pytest.mark.on_postgresql
@pytest.mark.timeout(7_200)
# Without shrinking: a history is its seed's.
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
# A node was silent while its containers ended: what it said later found its hours no more.
@example(seed=274, first=date(2023, 2, 1), count=1, apps=7)
@given(seed=SEEDS, first=FIRST, count=st.integers(1, 4), apps=st.integers(1, 9))
def test_any_long_history_is_billed_as_the_model_says(
    a_lab: None, db: None, seed: int, first: date, count: int, apps: int
) -> None:
    play_and_judge(seed=seed, first=first, count=count, apps=apps)
