"""Waiting for finality: everyone who waits is told, nobody who left is remembered."""

from __future__ import annotations

import asyncio

import pytest

from guqiao.consensus.v1 import ledger_pb2
from services.chassis.errors import ExhaustedError, FailedPreconditionError
from services.consensus.finality import FinalityBoard

ID = bytes(32)


async def test_all_who_wait_for_a_transaction_get_its_result() -> None:
    board = FinalityBoard(0)
    result = ledger_pb2.TransactionResult(transaction_id=ID, height=3)
    with board.waiting(ID) as first, board.waiting(ID) as second:
        board.resolve(result)
        assert [await first, await second] == [result, result]


async def test_a_refusal_reaches_those_who_wait() -> None:
    board = FinalityBoard(0)
    with board.waiting(ID) as future:
        board.refuse(ID, FailedPreconditionError("TRANSACTION_EXPIRED"))
        with pytest.raises(FailedPreconditionError):
            await future


async def test_one_who_gives_up_leaves_nothing_behind() -> None:
    board = FinalityBoard(0)
    with board.waiting(ID):
        assert board.wanted(ID)
    assert not board.wanted(ID)


async def test_there_is_room_for_a_bounded_number() -> None:
    board = FinalityBoard(0, waiters_max=1)
    with board.waiting(ID), pytest.raises(ExhaustedError), board.waiting(bytes([1]) * 32):
        pass
    with board.waiting(ID):
        assert board.wanted(ID)


async def test_a_watcher_is_woken_at_its_height_and_not_before() -> None:
    board = FinalityBoard(4)
    watching = asyncio.ensure_future(board.wait_certified(6))
    board.advance(5)
    await asyncio.sleep(0)
    assert not watching.done()
    board.advance(6)
    await asyncio.wait_for(watching, timeout=5)
