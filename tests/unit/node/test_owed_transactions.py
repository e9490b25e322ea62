"""Nobody is suspected for a transaction that an honest primary passes over: pbft.md, D4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX, EXPIRY_MS_MAX
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.genesis import ProtocolParameters
from services.consensus.proposer import is_owed, refused_for_good
from tests.plugins.chain_network import PARAMETERS as OF_TESTS
from tests.unit.node.test_mempool import transaction

PARAMETERS = ProtocolParameters(**OF_TESTS)  # type: ignore[arg-type]
BOUND_MS, WINDOW = PARAMETERS.clock_bound_ms, PARAMETERS.window
LOW, NOW_MS = 1_000, 10_000_000


def expiring(height: int, time_ms: int) -> AdmittedTransaction:
    return transaction("x", expires_height=height, expires_time_ms=time_ms)


def is_passed_over(entry: AdmittedTransaction, low: int, block_time_ms: int) -> bool:
    """What a primary with this low watermark and clock does with it (`Proposer._fits`)."""
    payload = entry.payload
    return (
        payload.expires_height > low + EXPIRY_HEIGHTS_MAX
        or not block_time_ms <= payload.expires_time_ms <= block_time_ms + EXPIRY_MS_MAX
        or refused_for_good(entry, PARAMETERS, low) is not None
    )


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(
    ("height", "time_ms", "owed"),
    [
        (LOW + 500, NOW_MS + 300_000, True),
        (LOW + 500, NOW_MS + EXPIRY_MS_MAX - BOUND_MS, True),
        (LOW + 500, NOW_MS + EXPIRY_MS_MAX - BOUND_MS + 1, False),
        (LOW + 500, NOW_MS + BOUND_MS + 2 * PARAMETERS.view_timeout_ms, False),
        (LOW + EXPIRY_HEIGHTS_MAX - WINDOW, NOW_MS + 300_000, True),
        (LOW + EXPIRY_HEIGHTS_MAX - WINDOW + 1, NOW_MS + 300_000, False),
        (LOW + 2 * WINDOW, NOW_MS + 300_000, False),
    ],
)
def test_a_transaction_is_owed_within_both_ends_of_its_expiry(
    height: int, time_ms: int, owed: bool
) -> None:
    assert is_owed(expiring(height, time_ms), PARAMETERS, LOW, NOW_MS) == owed


@given(
    height=st.integers(LOW - 10, LOW + EXPIRY_HEIGHTS_MAX + 10),
    ahead_ms=st.integers(-BOUND_MS, EXPIRY_MS_MAX + BOUND_MS),
    clock_ms=st.integers(-BOUND_MS, BOUND_MS),
    behind=st.integers(0, WINDOW),
)
def test_what_is_owed_is_passed_over_by_no_honest_primary(
    height: int, ahead_ms: int, clock_ms: int, behind: int
) -> None:
    """Its clock differs from the backup's within the bound, it is within a window of it."""
    entry = expiring(height, NOW_MS + ahead_ms)
    if is_owed(entry, PARAMETERS, LOW, NOW_MS):
        assert not is_passed_over(entry, LOW - behind, NOW_MS + clock_ms)
