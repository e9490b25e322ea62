"""The published datasets through the register contract: the same results to the byte."""

from __future__ import annotations

import pytest

from services.consensus.domain.contracts.register.contract import REGISTER_V1
from services.consensus.domain.contracts.register.recount import recount
from tests.unit.contracts.register_market import (
    DATA,
    RequestIdentity,
    as_csv,
    dataset,
    loaded_host,
    roster_csv,
)


@pytest.mark.req("N0-14", "N0-15", "N0-16", "N0-17", "N0-18")
def test_the_basic_dataset_gives_the_published_results_and_register() -> None:
    market = dataset("market-basic")
    host, identity = loaded_host(market), RequestIdentity()
    rows: list[tuple[int, str, str]] = []
    for event in market.events():
        code = identity.process(host, REGISTER_V1, event)
        rows.append((event.seq, "rejected" if code else "accepted", code))
        assert recount(host) == [], event.seq
    expected = DATA / "market-basic" / "expected"
    assert as_csv("seq,status,code", rows) == (expected / "results.csv").read_bytes()
    assert roster_csv(host) == (expected / "roster.csv").read_bytes()
    assert len(rows) == market.event_count == 206
