"""Rows G3 to G18 where the verifier is at work: in the contracts, whose refusals are on record and
change nothing (the chain of these tests finds what a refused call left behind it).
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.header import ZERO_HASH, BlockHeader
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.state_proof import DEPTH_MAX, StateProof, leaf_hash, node_hash
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    make_pair,
    receive_body,
    sent_packets,
    update_body,
)

FIRST = Replicas(FakeKeys())
SECOND = FIRST.next_epoch()
THIRD = SECOND.next_epoch()


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def csrc(request: pytest.FixtureRequest) -> LedgerChain:
    return make_pair(FakeKeys(), client_version=request.param)[1]


def change(old: Replicas, height: int, new: Replicas, signed_by: Replicas) -> SetChange:
    header = old.header(height, next_set=new.set)
    return SetChange(header, signed_by.certify(header), new.set)


def update(csrc: LedgerChain, by: Replicas, header: BlockHeader, *changes: SetChange) -> Receipt:
    rows: list[Json] = [
        {
            "header": each.header.encode().hex(),
            "certificate": each.certificate.encode().hex(),
            "replica_set": each.replica_set.encode().hex(),
        }
        for each in changes
    ]
    body: dict[str, Json] = {
        "chain": "shandong",
        "set_changes": rows,
        "header": header.encode().hex(),
        "certificate": by.certify(header).encode().hex(),
    }
    return csrc.call("light_client", "update", body)


def refusal(csrc: LedgerChain, by: Replicas, header: BlockHeader, *changes: SetChange) -> str:
    """The code, and with what words, of an update that leaves the client where it was."""
    before = csrc.value("light_client/client/shandong")
    receipt = update(csrc, by, header, *changes)
    assert receipt.events == ()
    assert csrc.value("light_client/client/shandong") == before
    return f"{receipt.code} {json.loads(receipt.detail)}"


def first_change() -> SetChange:
    return change(FIRST, 5, SECOND, FIRST)


def test_g3_a_header_of_a_former_or_future_set_moves_no_client(csrc: LedgerChain) -> None:
    assert update(csrc, SECOND, SECOND.header(12), first_change()).accepted
    assert re.match("HEADER_UNVERIFIED.*epoch 0", refusal(csrc, FIRST, FIRST.header(13)))
    assert re.match("HEADER_UNVERIFIED.*epoch 2", refusal(csrc, THIRD, THIRD.header(13)))


def test_g4_a_set_that_signs_its_own_appointment_moves_no_client(csrc: LedgerChain) -> None:
    """With other keys than the set before: its signatures are not those of the old quorum."""
    usurpers = replace(Replicas(FakeKeys(), size=7), epoch=1)
    own = change(FIRST, 5, usurpers, signed_by=usurpers)
    assert re.match(
        "HEADER_UNVERIFIED.*does not hold", refusal(csrc, usurpers, usurpers.header(12), own)
    )
    by_the_old = change(FIRST, 5, usurpers, signed_by=FIRST)
    assert update(csrc, usurpers, usurpers.header(12), by_the_old).accepted


def test_g5_a_set_change_that_skips_an_epoch_moves_no_client(csrc: LedgerChain) -> None:
    skipping = change(FIRST, 5, THIRD, FIRST)
    assert re.match(
        "HEADER_UNVERIFIED.*followed by the next one",
        refusal(csrc, THIRD, THIRD.header(12), skipping),
    )
    second_change = change(SECOND, 9, THIRD, SECOND)
    assert refusal(csrc, THIRD, THIRD.header(12), second_change).startswith("HEADER_UNVERIFIED")
    assert update(csrc, THIRD, THIRD.header(12), first_change(), second_change).accepted


def test_g6_an_older_set_change_replayed_moves_no_client(csrc: LedgerChain) -> None:
    changes = (first_change(), change(SECOND, 9, THIRD, SECOND))
    assert update(csrc, THIRD, THIRD.header(12), *changes).accepted
    assert refusal(csrc, SECOND, SECOND.header(20), first_change()).startswith("HEADER_UNVERIFIED")
    assert refusal(csrc, THIRD, THIRD.header(20), first_change()).startswith("HEADER_UNVERIFIED")
    assert update(csrc, THIRD, THIRD.header(20)).accepted


def test_g12_the_quorum_is_that_of_the_set_the_client_holds() -> None:
    """Seven replicas: three signatures would be a quorum of the four that a header speaks of."""
    csrc = make_pair(FakeKeys())[1]
    seven = replace(Replicas(FakeKeys(), size=7), epoch=1)
    assert update(csrc, seven, seven.header(12), change(FIRST, 5, seven, FIRST)).accepted
    four = replace(Replicas(FakeKeys(), size=4), epoch=2)
    claimed = seven.header(13, next_set=four.set)
    body: dict[str, Json] = {
        "chain": "shandong",
        "set_changes": [],
        "header": claimed.encode().hex(),
        "certificate": seven.certify(claimed, range(3)).encode().hex(),
    }
    receipt = csrc.call("light_client", "update", body)
    assert receipt.code == "HEADER_UNVERIFIED"
    assert "the quorum is 5" in receipt.detail.decode()


@pytest.mark.parametrize("name", ["parent", "transactions_root", "receipts_root", "state_root"])
def test_g14_a_certified_header_with_an_empty_root_moves_no_client(
    csrc: LedgerChain, name: str
) -> None:
    empty: dict[str, Any] = {name: ZERO_HASH}
    assert refusal(csrc, FIRST, replace(FIRST.header(7), **empty)).startswith("HEADER_UNVERIFIED")


@pytest.fixture
def delivery() -> tuple[LedgerChain, list[Packet], dict[str, Json]]:
    """A regulatory chain that knows the market's header, what the market sent, and a true body."""
    shandong, csrc = make_pair(FakeKeys())
    sent = sent_packets(shandong.call("reports", "report", {"count": 2, "broken": False}))
    assert csrc.call("light_client", "update", update_body(shandong)).accepted
    return csrc, sent, receive_body(shandong, sent)


def forged_proofs(true: StateProof) -> dict[str, StateProof]:
    """By row, what a relayer may make of a true membership proof."""
    terminal = true.terminal
    assert terminal is not None
    assert len(true.siblings) > 1, "the rows need a node above the leaf"
    deepest = true.siblings[-1]
    pair = (leaf_hash(*terminal), deepest)
    return {
        "g14 nothing found": StateProof(true.siblings, None),
        "g14 no sibling and nothing found": StateProof((), None),
        "g16 a node as the leaf": StateProof(true.siblings[:-1], pair),
        "g16 the other way round": StateProof(true.siblings[:-1], pair[::-1]),
        "g16 the leaf as a sibling": StateProof((*true.siblings, leaf_hash(*terminal)), terminal),
        "g16 the node above as a sibling": StateProof((*true.siblings, node_hash(*pair)), terminal),
        "g18 no depth": StateProof((), terminal),
        "g18 a sibling twice": StateProof((*true.siblings, deepest), terminal),
        "g18 one level short": StateProof(true.siblings[1:], terminal),
    }


ROWS = (
    *("g14 nothing found", "g14 no sibling and nothing found", "g16 a node as the leaf"),
    *("g16 the other way round", "g16 the leaf as a sibling", "g16 the node above as a sibling"),
    *("g18 no depth", "g18 a sibling twice", "g18 one level short"),
)


@pytest.mark.parametrize("row", ROWS)
def test_g14_g16_g18_a_proof_of_another_shape_delivers_nothing(
    delivery: tuple[LedgerChain, list[Packet], dict[str, Json]], row: str
) -> None:
    csrc, _, body = delivery
    entry = _last_entry(body)
    true = StateProof.decode(bytes.fromhex(str(entry["proof"])))
    entry["proof"] = forged_proofs(true)[row].encode().hex()
    receipt = csrc.call("packets", "receive", body)
    assert (receipt.code, receipt.events) == ("PROOF_INVALID", ())
    entry["proof"] = true.encode().hex()
    assert csrc.call("packets", "receive", body).accepted


def test_g18_a_proof_deeper_than_the_tree_is_malformed(
    delivery: tuple[LedgerChain, list[Packet], dict[str, Json]],
) -> None:
    csrc, _, body = delivery
    entry = _last_entry(body)
    true = StateProof.decode(bytes.fromhex(str(entry["proof"])))
    deeper = StateProof((bytes(32),) * (DEPTH_MAX + 1), true.terminal)
    entry["proof"] = deeper.encode().hex()
    receipt = csrc.call("packets", "receive", body)
    assert receipt.code == "BODY_MALFORMED"
    assert receipt.events == ()


def _last_entry(body: dict[str, Json]) -> dict[str, Json]:
    entries = body["packets"]
    assert isinstance(entries, list)
    found = entries[-1]
    assert isinstance(found, dict)
    return found
