"""A refused call leaves its receipt and nothing else; the chain of these tests finds what does not.

The rows of the gateway's negative list that a contract judges run on that chain, so each refusal
there is on record in a block, by its code, and changed no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.ledger.execution import BlockResult, execute_block
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain import ledger_chain
from tests.unit.xchain.ledger_chain import LedgerChain, events

pytestmark = pytest.mark.req("G2-19-4", "T2-14")


def write(host: Host, body: Mapping[str, Json]) -> None:
    """Write and announce, and refuse afterwards where the call says so."""
    host.put("written", 1)
    host.emit("notes.written", {"n": 1})
    if body["refused"]:
        raise Refusal("SCHEMA_FAILED", reason="the test asks for it")


@dataclass(frozen=True)
class NotesContract:
    name: str = "notes"
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        return {"write": write}


def make_chain() -> LedgerChain:
    contracts = [NotesContract()]
    return LedgerChain("csrc", FakeKeys(), destination=None, remotes={}, contracts=contracts)


def test_a_refusal_after_writes_is_on_record_and_changes_nothing() -> None:
    chain = make_chain()
    receipt = chain.call("notes", "write", {"refused": True})
    assert (receipt.code, receipt.events) == ("SCHEMA_FAILED", ())
    assert chain.value("notes/written") is None
    assert chain.blocks[chain.header.height].receipts == (receipt,)
    taken = chain.call("notes", "write", {"refused": False})
    assert events(taken, "notes.written") == [{"n": 1}]
    assert chain.value("notes/written") == 1


def spoil_state(result: BlockResult) -> BlockResult:
    return replace(result, write_set={**result.write_set, b"notes/written": b"1"})


def spoil_receipt(result: BlockResult, **changes: Any) -> BlockResult:
    (receipt,) = result.receipts
    return replace(result, receipts=(replace(receipt, **changes),))


def announced() -> Receipt:
    return make_chain().call("notes", "write", {"refused": False})


@pytest.mark.parametrize("spoiled", ["state", "events"])
def test_a_ledger_that_keeps_what_a_refused_call_did_is_found(
    monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    """Planted: a roll-back that forgets keys of the state, or events."""
    sound, told = execute_block, announced().events

    def forgetful(*args: Any, **named: Any) -> BlockResult:
        result = sound(*args, **named)
        return spoil_state(result) if spoiled == "state" else spoil_receipt(result, events=told)

    chain = make_chain()
    monkeypatch.setattr(ledger_chain, "execute_block", forgetful)
    with pytest.raises(AssertionError):
        chain.call("notes", "write", {"refused": True})
    assert chain.header.height == 0
