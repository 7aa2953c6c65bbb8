"""`./dev test-live` without keys, or with the wrong ones."""

import os
import subprocess
import sys
from pathlib import Path

from tests.live import KEYS, missing

ROOT = Path(__file__).resolve().parents[3]


def test_without_keys_it_names_each_and_ends_with_2() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    done = subprocess.run(
        [sys.executable, "-m", "tests.live"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert [line.split()[0] for line in done.stderr.splitlines()] == list(KEYS)


def test_a_key_that_charges_real_cards_is_refused() -> None:
    keys = dict.fromkeys(KEYS, "given")
    (told,) = missing({**keys, "STRIPE_SECRET_KEY": "sk_live_1"})
    assert "no key of Stripe's test mode" in told
    assert "sk_live_1" not in told
    assert missing({**keys, "STRIPE_SECRET_KEY": "sk_test_1"}) == []
