"""The demonstration's count of objects on the regulatory chain: a doubled, foreign, missing or
changed one is found.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace as Facts
from typing import Any

import pytest

from guqiao_sdk.proof.data_object import data_object_digest
from guqiaoctl.demo import checks

SOURCE_TRANSACTION = bytes(32)


def an_object(object_id: str) -> dict[str, Any]:
    return {"id": object_id}


def sent(*ids: str) -> dict[str, tuple[int, bytes, bytes]]:
    return {each: (0, data_object_digest(an_object(each)), SOURCE_TRANSACTION) for each in ids}


@dataclass
class FakeChain:
    """A regulatory chain: its blocks' events, and what its state holds."""

    blocks: Sequence[Sequence[str]]
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for object_id in (each for block in self.blocks for each in block):
            self.state[f"objects/{object_id}/0"] = {
                "object": an_object(object_id),
                "transaction_id": SOURCE_TRANSACTION.hex(),
                "source": "shandong",
            }

    async def latest(self) -> Facts:
        return Facts(height=len(self.blocks))

    async def get_state_proof(self, key: str, height: int) -> Facts:
        assert height == len(self.blocks)
        found = self.state.get(key)
        return Facts(value=None if found is None else json.dumps(found).encode())

    async def watch_blocks(self, from_height: int) -> AsyncGenerator[Facts]:
        for height, ids in enumerate(self.blocks[from_height - 1 :], start=from_height):
            events = [
                Facts(topic="object.recorded", body=json.dumps({"object_id": each, "version": 0}))
                for each in ids
            ]
            other = Facts(topic="packet.received", body="{}")
            receipts = [Facts(events=[other, event]) for event in events]
            yield Facts(height=height, receipts=receipts)
        raise AssertionError("asked for more than the last height")


async def count(
    monkeypatch: pytest.MonkeyPatch, chain: FakeChain, market: dict[str, tuple[int, bytes, bytes]]
) -> int:
    @asynccontextmanager
    async def open_chain(*_: object) -> AsyncGenerator[FakeChain]:
        yield chain

    async def market_objects(*_: object) -> dict[str, tuple[int, bytes, bytes]]:
        return market

    monkeypatch.setattr(checks, "open_identity", lambda *_: None)
    monkeypatch.setattr(checks, "open_chain", open_chain)
    monkeypatch.setattr(checks, "_market_objects", market_objects)
    nothing: Any = None
    return await checks.count_anchored(nothing, nothing)


async def test_objects_recorded_once_each_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = FakeChain([["a"], [], ["b", "c"]])
    assert await count(monkeypatch, chain, sent("a", "b", "c")) == 3


@pytest.mark.parametrize(
    ("blocks", "complaint"),
    [
        ([["a"], ["b", "a"]], "recorded a more than once"),
        ([["a", "b"], ["x"]], "recorded x, which nobody sent"),
        ([["a"], []], "b is not on the regulatory chain"),
    ],
)
async def test_a_doubled_foreign_or_missing_object_is_found(
    monkeypatch: pytest.MonkeyPatch, blocks: Sequence[Sequence[str]], complaint: str
) -> None:
    with pytest.raises(checks.DemoError, match=complaint):
        await count(monkeypatch, FakeChain(blocks), sent("a", "b"))


@pytest.mark.parametrize(
    "change", [{"object": {"id": "other"}}, {"transaction_id": "ff"}, {"source": "hubei"}]
)
async def test_a_changed_object_is_found(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    chain = FakeChain([["a"]])
    chain.state["objects/a/0"] |= change
    with pytest.raises(checks.DemoError, match="another content"):
        await count(monkeypatch, chain, sent("a"))
