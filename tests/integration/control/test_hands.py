"""The agents' threads: what is asked at the same time is done in one go, and connections last while there is work."""

import asyncio
from collections.abc import Sequence

import pytest
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from egress.control.agents import hands
from egress.control.agents.hands import Hands
from egress.control.errors import EgressError, Unauthorized

pytestmark = pytest.mark.django_db(transaction=True)


def ask_database() -> BaseDatabaseWrapper:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    wrapper: BaseDatabaseWrapper = connections["default"]
    return wrapper


def test_what_is_asked_meanwhile_is_done_in_one_go_and_each_gets_its_own_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hands, "MOST_TOGETHER", 8)
    sizes: list[int] = []

    def double(numbers: Sequence[int]) -> list[int | EgressError]:
        sizes.append(len(numbers))
        return [Unauthorized(str(number)) if number % 5 == 0 else 2 * number for number in numbers]

    async def ask() -> list[int | BaseException]:
        asked = (Hands.here().together(double, number) for number in range(20))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert sizes == [8, 8, 4]
    assert [str(answer) for answer in answers] == [str(n) if n % 5 == 0 else str(2 * n) for n in range(20)]
    assert all(isinstance(answer, Unauthorized) == (n % 5 == 0) for n, answer in enumerate(answers))


def test_one_that_hung_up_takes_nobody_along() -> None:
    def same(numbers: Sequence[int]) -> Sequence[int]:
        return numbers

    async def ask() -> int:
        gone = asyncio.create_task(Hands.here().together(same, 1))
        stays = asyncio.create_task(Hands.here().together(same, 2))
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.wait_for(stays, 60)

    assert asyncio.run(ask()) == 2


def test_a_failure_is_everybodys_and_the_next_begins_with_a_new_connection() -> None:
    used: list[tuple[BaseDatabaseWrapper, object]] = []

    def work(numbers: Sequence[int]) -> Sequence[int]:
        wrapper = ask_database()
        used.append((wrapper, wrapper.connection))
        if 0 in numbers:
            raise OperationalError("the server closed the connection")
        return numbers

    async def ask() -> list[int | BaseException]:
        here = Hands.here()
        first = await asyncio.gather(here.together(work, 0), here.together(work, 1), return_exceptions=True)
        assert used[0][0].connection is None
        return [*first, await here.together(work, 2)]

    first, second, third = asyncio.run(ask())
    assert isinstance(first, OperationalError)
    assert isinstance(second, OperationalError)
    assert third == 2
    assert used[0][1] is not used[1][1]


def test_a_connection_lasts_while_there_is_work_and_goes_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "THREADS", 1)

    async def work() -> BaseDatabaseWrapper:
        wrapper = await Hands.here().alone(ask_database)
        kept = wrapper.connection
        assert kept is not None
        assert (await Hands.here().alone(ask_database)).connection is kept
        return wrapper

    assert asyncio.run(work()).connection is None


def test_connections_go_after_a_rest_and_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "REST_SECONDS", 0.05)

    async def work() -> None:
        for _ in range(2):
            rested = await Hands.here().alone(ask_database)
            async with asyncio.timeout(60):
                while rested.connection is not None:  # noqa: ASYNC110  # it goes without a word
                    await asyncio.sleep(0.05)

    asyncio.run(work())
