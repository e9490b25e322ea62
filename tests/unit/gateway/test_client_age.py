"""At which age a light client is brought a newer header, and at which people are told."""

from __future__ import annotations

import pytest

from services.gateway.domain.client_age import ClientPeriod, FollowedClient
from services.gateway.settings import Settings

HOUR = 3_600
DAY = 24 * HOUR
START_MS = 1_756_000_000_000


def aged(seconds: float, period: int = 8 * HOUR, *, is_frozen: bool = False) -> FollowedClient:
    """A client whose newest header is so old."""
    read_at_ms = START_MS + round(seconds * 1_000)
    return FollowedClient(7, b"header", START_MS, is_frozen, read_at_ms, ClientPeriod(period))


@pytest.mark.req("G2-10-3")
@pytest.mark.parametrize(
    ("period", "due"),
    [(60, 15), (8 * HOUR, 2 * HOUR), (2 * DAY, 12 * HOUR), (14 * DAY, 12 * HOUR)],
)
def test_a_header_is_due_after_a_quarter_of_the_period_or_half_a_day(period: int, due: int) -> None:
    assert ClientPeriod(period).refresh_seconds == due
    assert not aged(due - 0.001, period).is_due
    assert aged(due, period).is_due


@pytest.mark.req("G2-10-3")
def test_by_default_a_changed_set_is_known_within_a_working_day() -> None:
    default = Settings.model_fields["client_period_seconds"].default
    assert ClientPeriod(default).refresh_seconds == 12 * HOUR


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (0, ""),
        (4 * HOUR, ""),
        (4 * HOUR + 1, "CLIENT_AGES"),
        (8 * HOUR, "CLIENT_AGES"),
        (8 * HOUR + 1, "CLIENT_STALE"),
        (400 * DAY, "CLIENT_STALE"),
    ],
)
def test_people_are_told_after_half_the_period_and_after_all_of_it(seconds: int, code: str) -> None:
    assert aged(seconds).code == code


def test_a_frozen_client_is_called_so_however_old_it_is() -> None:
    assert aged(0, is_frozen=True).code == "CLIENT_FROZEN"
    assert aged(400 * DAY, is_frozen=True).code == "CLIENT_FROZEN"


def test_a_client_without_a_header_has_no_age_and_is_due() -> None:
    none = FollowedClient(0, b"", 0, False, START_MS, ClientPeriod(60))
    assert (none.age_seconds, none.code, none.is_due) == (0, "", True)


def test_a_header_of_a_chain_whose_time_is_ahead_is_young() -> None:
    assert (aged(-500).age_seconds, aged(-500).is_due) == (0, False)
