from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.standin.answers import KEPT_SECONDS, MAX_KEY, Answer, Answers, fingerprint
from billing.standin.errors import ApiError
from billing.standin.store import Store

PRINT = fingerprint({"amount": 1})
ANSWER = Answer(200, {"id": "x"}, "req_1")


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    store = Store(tmp_path / "state")
    yield Answers(store)
    store.close()


def test_an_answer_is_given_again(answers: Answers) -> None:
    assert answers.find("k", "/v1/x", PRINT, 1_000) is None
    answers.keep("k", "/v1/x", PRINT, 1_000, ANSWER)
    assert answers.find("k", "/v1/x", PRINT, 1_000) == ANSWER


def test_an_answer_is_kept_for_a_day_and_no_longer(answers: Answers) -> None:
    answers.keep("k", "/v1/x", PRINT, 1_000, ANSWER)
    assert answers.find("k", "/v1/x", PRINT, 1_000 + KEPT_SECONDS - 1) == ANSWER
    assert answers.find("k", "/v1/x", PRINT, 1_000 + KEPT_SECONDS) is None
    answers.keep("k", "/v1/x", PRINT, 1_000 + KEPT_SECONDS, Answer(200, {"id": "y"}, "req_2"))
    assert answers.find("k", "/v1/x", PRINT, 1_000 + KEPT_SECONDS) == Answer(200, {"id": "y"}, "req_2")


@pytest.mark.parametrize(("address", "params"), [("/v1/x", {"amount": 2}), ("/v1/y", {"amount": 1})])
def test_a_key_belongs_to_one_request(answers: Answers, address: str, params: dict[str, int]) -> None:
    answers.keep("k", "/v1/x", PRINT, 1_000, ANSWER)
    with pytest.raises(ApiError) as refusal:
        answers.find("k", address, fingerprint(params), 1_000)
    assert (refusal.value.status, refusal.value.kind) == (400, "idempotency_error")


def test_a_key_in_use_is_refused_until_it_is_free(answers: Answers) -> None:
    answers.begin("k")
    with pytest.raises(ApiError) as refusal:
        answers.begin("k")
    assert (refusal.value.status, refusal.value.code) == (409, "idempotency_key_in_use")
    answers.end("k")
    answers.begin("k")


def test_a_key_has_a_length(answers: Answers) -> None:
    answers.begin("k" * MAX_KEY)
    with pytest.raises(ApiError, match="255"):
        answers.begin("k" * (MAX_KEY + 1))


def test_order_of_parameters_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
