"""The limits of `./dev bench --only exports`, on made-up figures."""

from tests.bench.exports import verdicts


def figure(seconds: float, peak_mib: float) -> dict[str, float]:
    return {"rows": 1_000_000, "seconds": seconds, "peak_mib": peak_mib}


def test_too_slow_and_too_large_are_missed() -> None:
    results = verdicts({"command": {"csv": figure(20, 200), "focus": figure(20.1, 90)}, "http": figure(5, 201)})

    missed = [name for name, result in results.items() if not result["kept"]]
    assert missed == ["export as focus, s per million rows", "export by HTTP, most memory, MiB"]
