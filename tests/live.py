"""`./dev test-live`: the same journeys against Stripe's test mode and DigitalOcean itself, where keys for them are set.

Stripe's side costs nothing; at DigitalOcean one small Droplet lives for some minutes.
"""

import os
import sys

import pytest

KEYS = {
    "STRIPE_SECRET_KEY": "a secret key of Stripe's test mode, sk_test_…",
    "DIGITALOCEAN_TOKEN": "a token that may create and delete Droplets",
    "DIGITALOCEAN_VPC": "the id of a VPC in which the Droplet is made",
    "DIGITALOCEAN_REGION": "that VPC's region, such as fra1",
}
#: Says to the tests that the keys are meant: without it they use none.
LIVE = "SLUICEGATE_TEST_LIVE"
TEST_MODE = ("sk_test_", "rk_test_")
JOURNEYS = ("tests/integration/billing/collecting/test_live_journey.py", "tests/contract/live_digitalocean.py")


def missing(environment: dict[str, str]) -> list[str]:
    """Return what is in the way, a line each."""
    lines = [f"{name} is not set: {what}" for name, what in KEYS.items() if not environment.get(name)]
    key = environment.get("STRIPE_SECRET_KEY", "")
    if key and not key.startswith(TEST_MODE):
        lines.append("STRIPE_SECRET_KEY is no key of Stripe's test mode: with any other, real cards would be charged")
    return lines


def main() -> int:
    """Run the journeys; return pytest's exit code, or 2 and say why where keys are missing."""
    if lines := missing(dict(os.environ)):
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        return 2
    os.environ[LIVE] = "1"
    # Which database keeps the rows makes no difference to those who are asked here.
    return int(pytest.main([*JOURNEYS, "-k", "not postgresql", *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
