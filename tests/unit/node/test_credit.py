"""What those who send may take of this machine."""

from __future__ import annotations

import pytest

from services.consensus.credit import SHARE, Credits

CREDIT_SECONDS = 2.0


class Clock:
    """As late as a test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.credits: Credits[str] = Credits(CREDIT_SECONDS, lambda: self.now)


@pytest.mark.req("G2-07-1")
def test_who_spent_more_than_its_credit_rests_until_its_share_made_up_for_it() -> None:
    clock = Clock()
    clock.credits.charge("flooder", CREDIT_SECONDS)
    assert clock.credits.rest("flooder") <= 0
    clock.credits.charge("flooder", 0.5)
    assert clock.credits.rest("flooder") == pytest.approx(0.5 / SHARE)
    clock.now += 0.25 / SHARE
    assert clock.credits.rest("flooder") == pytest.approx(0.25 / SHARE)
    assert clock.credits.rest("honest") <= 0


def test_no_more_is_saved_than_the_credit() -> None:
    clock = Clock()
    clock.credits.charge("slow", 0.1)
    clock.now += 1_000_000
    clock.credits.charge("slow", CREDIT_SECONDS)
    assert clock.credits.rest("slow") == pytest.approx(0)
