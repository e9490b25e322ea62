"""What the bench tells of the way from chain to chain, over plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.cross_chain import Recorded, acknowledged, figures
from bench.load import FinalTransaction, Tally
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.receipt import Event, Outcome, Receipt

BEGUN = 100.0


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def sent(number: int, at: float) -> FinalTransaction:
    """A transfer that the market's chain had final a tenth of a second later."""
    return FinalTransaction(name(number), at, at, at + 0.1, 7)


def packet_event(number: int, code: str = "", topic: str = "packet.received") -> Event:
    """The event of a packet that this transaction sent."""
    transaction_id = None if code else name(number).hex()
    body: Json = {"acknowledgement": {"code": code, "transaction_id": transaction_id}}
    return Event(topic, canonical_json(body))


def receipt(events: Sequence[Event]) -> Receipt:
    return Receipt(name(99), Outcome.APPLIED, "", b"{}", b"", tuple(events))


def test_a_latency_is_from_the_first_sending_to_the_certified_block() -> None:
    finals = [sent(number, BEGUN + number / 100) for number in range(100)]
    at = {each.transaction_id: each.sent + 0.5 for each in finals}
    at[name(99)] += 2.0
    found = figures(Tally(finals), Recorded(at), BEGUN, 10.0)
    assert (found["transactions"], found["offered_tps"]) == (100, 10.0)
    assert found["cross_chain_p50_ms"] == found["cross_chain_p95_ms"] == 500.0
    assert found["cross_chain_p99_ms"] == 2_500.0
    assert found["local_final_p50_ms"] == 100.0


def test_what_was_sent_while_it_warmed_up_is_not_in_the_figure_but_has_to_arrive() -> None:
    early, late = sent(1, BEGUN - 1), sent(2, BEGUN + 1)
    at = {early.transaction_id: BEGUN + 20, late.transaction_id: late.sent + 0.3}
    found = figures(Tally([early, late]), Recorded(at), BEGUN, 10.0)
    assert (found["transactions"], found["cross_chain_p99_ms"]) == (1, 300.0)
    del at[early.transaction_id]
    with pytest.raises(RuntimeError, match="1 of 2 transfers were not verified"):
        figures(Tally([early, late]), Recorded(at), BEGUN, 10.0)


def test_a_transfer_that_the_regulatory_chain_refuses_fails_the_phase() -> None:
    one = sent(1, BEGUN)
    recorded = Recorded({one.transaction_id: BEGUN + 1}, {"SCHEMA_FAILED": 1})
    with pytest.raises(RuntimeError, match="SCHEMA_FAILED"):
        figures(Tally([one]), recorded, BEGUN, 10.0)


def test_what_the_local_chain_refused_stands_beside() -> None:
    tally = Tally([], refusals=Counter({"QUEUE_FULL": 3}))
    found = figures(tally, Recorded(), BEGUN, 10.0)
    assert (found["refusals"], found["cross_chain_p95_ms"]) == ({"QUEUE_FULL": 3}, None)


def test_only_packets_that_were_received_count_and_the_first_time_each() -> None:
    events = [
        packet_event(1),
        packet_event(2, topic="packet.received_again"),
        packet_event(3, "SCHEMA_FAILED"),
    ]
    assert list(acknowledged(receipt(events))) == [(name(1), ""), (b"", "SCHEMA_FAILED")]
    recorded = Recorded()
    block: Any = SimpleNamespace(receipts=[receipt(events)])
    recorded.take(block, 5.0)
    recorded.take(cast("Any", block), 6.0)
    assert recorded.at == {name(1): 5.0}
    assert recorded.refused == {"SCHEMA_FAILED": 2}


async def test_waiting_ends_when_all_are_there_or_the_time_is_up() -> None:
    recorded = Recorded({name(1): 1.0})
    await recorded.wait_for([name(1)], 3_600.0)
    await recorded.wait_for([name(1), name(2)], 0.01)
    assert name(2) not in recorded.at
