"""The token bucket: bursts up to its size, then its rate, each identity alone, memory bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import ExhaustedError
from services.chassis.grpc_server import rate
from services.chassis.grpc_server.rate import RateLimiter


def taken(limiter: RateLimiter, identity: str, now_ms: int) -> bool:
    try:
        limiter.take(identity, now_ms)
    except ExhaustedError:
        return False
    return True


def test_the_refusal_has_its_code() -> None:
    limiter = RateLimiter(rate_per_second=1, burst=1)
    limiter.take("a", 0)
    with pytest.raises(ExhaustedError) as caught:
        limiter.take("a", 0)
    assert caught.value.code == "RATE_LIMITED"


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    limiter = RateLimiter(rate_per_second=2, burst=3)
    assert [taken(limiter, "a", 0) for _ in range(4)] == [True, True, True, False]
    assert not taken(limiter, "a", 499)
    assert taken(limiter, "a", 500)
    assert not taken(limiter, "a", 500)


def test_identities_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(rate_per_second=1, burst=1)
    assert taken(limiter, "a", 0)
    assert taken(limiter, "b", 0)
    assert not taken(limiter, "a", 0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    limiter = RateLimiter(rate_per_second=1, burst=1)
    assert taken(limiter, "a", 10_000)
    assert not taken(limiter, "a", 0)


def test_the_longest_silent_identity_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "IDENTITIES_MAX", 2)
    limiter = RateLimiter(rate_per_second=0.001, burst=1)
    assert [taken(limiter, name, 0) for name in "abc"] == [True, True, True]
    assert not taken(limiter, "c", 0)
    assert len(limiter._buckets) == 2


@given(st.lists(st.integers(0, 500), max_size=200), st.integers(1, 10), st.integers(1, 20))
def test_no_more_pass_than_burst_and_rate_allow(
    gaps_ms: list[int], burst: int, rate_per_second: int
) -> None:
    limiter = RateLimiter(rate_per_second=rate_per_second, burst=burst)
    now_ms, passed = 0, 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        passed += taken(limiter, "a", now_ms)
    assert passed <= burst + rate_per_second * now_ms / 1_000 + 1e-6
