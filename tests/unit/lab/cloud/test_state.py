import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egress.lab.cloud import state as module
from egress.lab.cloud.errors import ApiError
from egress.lab.cloud.requests import CreateRequest
from egress.lab.cloud.state import AddressPool, CloudLayout, CloudState, Droplet

NOW = 1_795_000_000.0


def request(*names: str, **other: Any) -> CreateRequest:
    wanted: dict[str, Any] = {
        "names": names or ("a",),
        "several": len(names) > 1,
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64",
        "user_data": "secret",
        "tags": (),
        "vpc_uuid": None,
    }
    return CreateRequest(**wanted | other)


def settled(state: CloudState, *names: str, **other: Any) -> list[Droplet]:
    created = state.create(request(*names, **other), NOW)
    for _, action in created:
        state.finish(action, "completed", NOW)
    return [droplet for droplet, _ in created]


def test_user_data_is_in_no_repr() -> None:
    (droplet,) = settled(CloudState(CloudLayout()))

    assert "secret" not in repr(droplet)
    assert "secret" not in repr(request())


def test_numbers_are_never_used_twice() -> None:
    state = CloudState(CloudLayout())
    (first,) = settled(state)
    state.remove(first)

    (second,) = settled(state)

    assert second.id == first.id + 1


def test_one_action_at_a_time() -> None:
    state = CloudState(CloudLayout())
    ((droplet, creation),) = state.create(request(), NOW)

    for attempt in (lambda: state.begin(droplet, "reboot", NOW), lambda: state.remove(droplet)):
        with pytest.raises(ApiError, match="pending event"):
            attempt()
    state.finish(creation, "errored", NOW)

    assert state.begin(droplet, "reboot", NOW).id == creation.id + 1


def test_a_refused_creation_takes_nothing() -> None:
    state = CloudState(CloudLayout(public_addresses=("203.0.113.1", "203.0.113.2")))

    with pytest.raises(ApiError, match="not available"):
        state.create(request("a", "b", "c"), NOW)

    assert len(settled(state, "a", "b")) == 2


def test_droplets_are_listed_newest_first() -> None:
    state = CloudState(CloudLayout())
    settled(state, "a", "b", tags=("Web",))
    settled(state, "c")

    assert [droplet.name for droplet in state.droplets()] == ["c", "b", "a"]
    assert [droplet.name for droplet in state.droplets(tag="wEB")] == ["b", "a"]
    assert [droplet.name for droplet in state.droplets(tag="web", name="a")] == ["a"]


def test_droplets_spread_over_the_hosts() -> None:
    state = CloudState(dataclasses.replace(CloudLayout(), hosts=3))

    assert [droplet.host for droplet in settled(state, "a", "b", "c", "d")] == [0, 1, 2, 0]


def test_old_actions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACTIONS", 2)
    state = CloudState(CloudLayout())
    (droplet,) = settled(state)

    actions = [state.begin(droplet, "reboot", NOW)]
    state.finish(actions[0], "completed", NOW)
    actions.append(state.begin(droplet, "reboot", NOW))

    assert state.action(actions[0].id - 1) is None
    assert [state.action(action.id) for action in actions] == actions


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=60))
def test_no_address_is_taken_twice_and_the_longest_free_comes_next(steps: list[bool]) -> None:
    pool = AddressPool("203.0.113.0", "203.0.113.9")
    free = [f"203.0.113.{last}" for last in range(10)]
    taken: list[str] = []
    for take in steps:
        if take and free:
            taken.append(pool.take())
            assert taken[-1] == free.pop(0)
        elif taken:
            free.append(taken.pop(0))
            pool.give_back(free[-1])
        assert len(pool) == len(free)
        assert len(set(taken)) == len(taken)
