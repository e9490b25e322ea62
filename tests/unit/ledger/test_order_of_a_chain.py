"""Transactions that follow one another take effect in that order, whichever arrive first."""

from __future__ import annotations

import uuid
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.receipt import is_final
from guqiao_sdk.proof.transaction import Payload
from tests.unit.ledger.chain_builder import MemoryChain, id_of, payload_of

LENGTH = 9
KINDS = ("new", "repeated", "reused", "refused", "unknown sender")
NOBODY = ("did:rem:testing:nobody", "k1")


def request_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def chain_of(kinds: list[str]) -> list[Payload]:
    """Each follows the one before it; some ask again what an earlier one asked, or are refused."""
    made: list[Payload] = []
    new: list[Payload] = []
    for number, kind in enumerate(kinds):
        payload = payload_of(
            body={"put": {"last": number}} | ({"refuse": "NO"} if kind == "refused" else {}),
            request_id=request_id(number),
            after=id_of(made[-1]) if made else None,
        )
        if kind in ("repeated", "reused") and new:
            first = new[number % len(new)]
            payload = replace(payload, request_id=first.request_id)
            payload = replace(payload, body=first.body) if kind == "repeated" else payload
        elif kind == "unknown sender":
            payload = replace(payload, maker=NOBODY)
        if kind == "new":
            new.append(payload)
        made.append(payload)
    return made


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=LENGTH, max_size=LENGTH),
    asked_before=st.integers(0, LENGTH),
    arrivals=st.permutations(range(LENGTH)),
    cuts=st.sets(st.integers(1, LENGTH - 1)),
)
@settings(max_examples=80)
def test_what_counts_as_executed_came_after_what_it_follows(
    kinds: list[str], asked_before: int, arrivals: list[int], cuts: set[int]
) -> None:
    """Blocks in any order, and what was not executed comes again with the same bytes."""
    made = chain_of(kinds)
    chain = MemoryChain()
    for payload in made[:asked_before]:  # An earlier run, of which nobody knows the answers.
        chain.receipt(replace(payload, after=None, expires_height=payload.expires_height - 1))
    waiting = [made[at] for at in arrivals]
    bounds = [0, *sorted(cuts), LENGTH]
    blocks = [waiting[low:high] for low, high in pairwise(bounds)]
    executed: list[Payload] = []
    for _ in range(LENGTH):
        left: list[list[Payload]] = []
        for block in blocks:
            receipts = chain.execute(*block).receipts
            final = [p for p, receipt in zip(block, receipts, strict=True) if is_final(receipt)]
            executed += final
            left.append([payload for payload in block if payload not in final])
        blocks = left
    assert executed == made
