from hypothesis import given, settings
from hypothesis import strategies as st

from egress.lab.cloud.limits import RateLimit

NOW = 1_795_000_000.0


def test_headers_count_down_and_name_the_reset() -> None:
    limit = RateLimit(per_hour=3, per_minute=3)

    assert limit.request(NOW).headers() == {
        "ratelimit-limit": "3",
        "ratelimit-remaining": "2",
        "ratelimit-reset": str(int(NOW) + 3600),
    }
    assert limit.request(NOW + 5).remaining == 1


def test_the_burst_limit_opens_again_after_a_minute() -> None:
    limit = RateLimit(per_hour=100, per_minute=2)
    limit.request(NOW)
    limit.request(NOW + 10)

    refused = limit.request(NOW + 30)

    assert (refused.allowed, refused.retry_after_seconds) == (False, 30)
    assert limit.request(NOW + 60).allowed
    assert not limit.request(NOW + 60).allowed


def test_the_hourly_limit_has_no_retry_after() -> None:
    limit = RateLimit(per_hour=1, per_minute=10)
    limit.request(NOW)

    refused = limit.request(NOW + 61)

    assert (refused.allowed, refused.retry_after_seconds, refused.reset_at) == (False, None, int(NOW) + 3600)
    assert limit.request(NOW + 3600).allowed


@settings(deadline=None)
@given(st.lists(st.floats(0, 600), max_size=200))
def test_no_window_ever_holds_more_than_its_limit(gaps: list[float]) -> None:
    limit = RateLimit(per_hour=30, per_minute=5)
    now, passed = NOW, []
    for gap in gaps:
        now += gap
        if limit.request(now).allowed:
            passed.append(now)
        assert sum(at > now - 60 for at in passed) <= 5
        assert sum(at > now - 3600 for at in passed) <= 30
