"""Calls that wait until the other gateway fetches them: each ends once, whatever that does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from services.chassis.errors import DeadlineError
from services.chassis.grpc_server import error_of_code, to_rpc_status
from services.gateway import fetched_calls
from services.gateway.domain.errors import CallUnknownError, LinkBrokenError, LinkUnattendedError
from services.gateway.fetched_calls import FetchedCalls

pytestmark = pytest.mark.req("N0-07", "G2-03-1")


@pytest.fixture
def calls() -> FetchedCalls:
    return FetchedCalls("shandong", "did:rem:shandong:91370000MA0000000X")


def deliver(calls: FetchedCalls, count: int = 1) -> asyncio.Task[Any]:
    request = pb.DeliverPacketsRequest()
    for _ in range(count):
        request.packets.add()
    return asyncio.ensure_future(calls.deliver_packets(request))


@asynccontextmanager
async def stream_of(calls: FetchedCalls) -> AsyncGenerator[AsyncGenerator[pb.FetchCallsResponse]]:
    """A stream that stands: its first message asks nothing."""
    async with aclosing(calls.hand_out()) as stream:
        assert (await anext(stream)).WhichOneof("call") is None
        yield stream


def answered(call: pb.FetchCallsResponse, height: int) -> pb.AnswerCallRequest:
    answer = pb.DeliverPacketsResponse(height=height)
    return pb.AnswerCallRequest(call_id=call.call_id, deliver_packets=answer)


async def test_each_call_gets_its_own_answer_in_whatever_order_they_come(
    calls: FetchedCalls,
) -> None:
    asking = [deliver(calls, count) for count in (1, 2, 3)]
    async with stream_of(calls) as stream:
        taken = [await anext(stream) for _ in asking]
        assert [len(call.deliver_packets.packets) for call in taken] == [1, 2, 3]
        for call in reversed(taken):
            calls.answer(answered(call, len(call.deliver_packets.packets)))
        assert [found.height for found in await asyncio.gather(*asking)] == [1, 2, 3]


async def test_a_call_is_handed_to_one_of_two_streams(calls: FetchedCalls) -> None:
    async with stream_of(calls) as one, stream_of(calls) as other:
        waiting = {asyncio.ensure_future(anext(stream)) for stream in (one, other)}
        asking = deliver(calls)
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        [taken] = done
        calls.answer(answered(await taken, 7))
        assert (await asking).height == 7
        [idle] = waiting - done
        assert not idle.done()
        idle.cancel()
        await asyncio.wait([idle])


async def test_what_a_stream_took_fails_at_once_when_it_breaks_and_the_rest_waits(
    calls: FetchedCalls,
) -> None:
    first, second = deliver(calls, 1), deliver(calls, 2)
    async with stream_of(calls) as stream:
        taken = await anext(stream)
    with pytest.raises(LinkBrokenError):
        await first
    calls.answer(answered(taken, 1))  # Too late: nobody waits for it.
    async with stream_of(calls) as stream:
        left = await anext(stream)
        assert len(left.deliver_packets.packets) == 2
        calls.answer(answered(left, 9))
        assert (await second).height == 9


async def test_what_a_stream_took_may_be_answered_after_it_ended_by_itself(
    calls: FetchedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "STREAM_SECONDS", 0.2)
    monkeypatch.setattr(fetched_calls, "SILENCE_SECONDS", 0.05)
    asking = deliver(calls)
    async with stream_of(calls) as stream:
        taken = await anext(stream)
        assert [call async for call in stream if call.WhichOneof("call")] == []
    calls.answer(answered(taken, 3))
    assert (await asking).height == 3


async def test_a_stream_without_calls_says_that_it_stands(
    calls: FetchedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "SILENCE_SECONDS", 0.01)
    async with stream_of(calls) as stream:
        for _ in range(3):
            assert (await anext(stream)).WhichOneof("call") is None


async def test_where_nobody_fetches_the_call_says_so_and_is_not_kept(
    calls: FetchedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "UNATTENDED_SECONDS", 0.01)
    with pytest.raises(LinkUnattendedError) as unattended:
        await deliver(calls)
    assert unattended.value.fields == {"chain": "shandong"}
    monkeypatch.setattr(fetched_calls, "SILENCE_SECONDS", 0.01)
    async with stream_of(calls) as stream:
        assert (await anext(stream)).WhichOneof("call") is None


async def test_a_call_that_is_taken_and_never_answered_ends(
    calls: FetchedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "CALL_SECONDS", 0.05)
    async with stream_of(calls) as stream:
        asking = deliver(calls)
        taken = await anext(stream)
        with pytest.raises(DeadlineError):
            await asking
        calls.answer(answered(taken, 1))


async def test_an_answer_is_an_error_or_one_to_the_question(calls: FetchedCalls) -> None:
    """What comes is data: a refusal keeps its code, and nonsense is no answer."""
    status = to_rpc_status(error_of_code("PACKET_OUT_OF_ORDER", port="data_object", sequence=3))
    answers = [
        pb.AnswerCallRequest(error=status.SerializeToString()),
        pb.AnswerCallRequest(error=b"\xff"),
        pb.AnswerCallRequest(get_packet_receipts=pb.GetPacketReceiptsResponse()),
        pb.AnswerCallRequest(),
    ]
    ends: list[Any] = []
    async with stream_of(calls) as stream:
        for answer in answers:
            asking = deliver(calls)
            answer.call_id = (await anext(stream)).call_id
            calls.answer(answer)
            await asyncio.wait([asking])
            ends.append(asking.exception())
    assert [type(end) for end in ends[2:]] == [ProofError, ProofError]
    assert isinstance(ends[0], GuqiaoError)
    assert (ends[0].code, ends[0].fields["sequence"]) == ("PACKET_OUT_OF_ORDER", "3")
    assert isinstance(ends[1], GuqiaoError)
    assert ends[1].code == ""


async def test_an_answer_to_no_call_changes_nothing(calls: FetchedCalls) -> None:
    async with stream_of(calls) as stream:
        asking = deliver(calls)
        taken = await anext(stream)
        with pytest.raises(CallUnknownError):
            calls.answer(pb.AnswerCallRequest(call_id=bytes(16)))
        assert not asking.done()
        calls.answer(answered(taken, 4))
        calls.answer(answered(taken, 5))  # The second answer to the same call.
        assert (await asking).height == 4


async def test_an_answer_to_another_gateways_call_is_refused_and_that_one_still_gets_it(
    calls: FetchedCalls,
) -> None:
    other = FetchedCalls(calls.chain_id, calls.organisation)
    async with stream_of(calls) as stream, stream_of(other):
        asking = deliver(calls)
        taken = await anext(stream)
        with pytest.raises(CallUnknownError) as unknown:
            other.answer(answered(taken, 4))
        assert unknown.value.fields == {"chain": "shandong"}
        calls.answer(answered(taken, 5))
        assert (await asking).height == 5


async def test_the_newest_stream_that_is_free_gets_the_call(calls: FetchedCalls) -> None:
    """What stands behind an older one may have vanished; one that is busy gets no second."""
    async with stream_of(calls) as old, stream_of(calls) as new:
        waiting = [asyncio.ensure_future(anext(stream)) for stream in (old, new)]
        await asyncio.sleep(0)  # Both are free.
        asking = [deliver(calls, count) for count in (1, 2)]
        by_old, by_new = await asyncio.gather(*waiting)
        assert len(by_new.deliver_packets.packets) == 1
        assert len(by_old.deliver_packets.packets) == 2
        for call in (by_old, by_new):
            calls.answer(answered(call, 1))
        await asyncio.gather(*asking)


async def test_a_stream_whose_call_timed_out_ends_and_the_next_call_goes_elsewhere(
    calls: FetchedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is behind it any more: it listens without a word until its connection is found dead.
    One that lives opens another.
    """
    async with stream_of(calls) as living, stream_of(calls) as vanished:
        to_living, to_vanished = [asyncio.ensure_future(anext(s)) for s in (living, vanished)]
        await asyncio.sleep(0)  # Both are free.
        monkeypatch.setattr(fetched_calls, "CALL_SECONDS", 0.05)
        with pytest.raises(DeadlineError):
            await deliver(calls, 1)
        assert len((await to_vanished).deliver_packets.packets) == 1
        listening = asyncio.ensure_future(anext(vanished, None))
        monkeypatch.undo()
        asking = deliver(calls, 2)
        calls.answer(answered(await to_living, 7))
        assert (await asking).height == 7
        assert await listening is None


async def test_where_the_one_stream_had_no_answer_the_link_is_unattended(
    calls: FetchedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "UNATTENDED_SECONDS", 0.05)
    monkeypatch.setattr(fetched_calls, "CALL_SECONDS", 0.05)
    async with stream_of(calls) as stream:
        asking = deliver(calls)
        await anext(stream)
        with pytest.raises(DeadlineError):
            await asking
        with pytest.raises(LinkUnattendedError):
            await deliver(calls)


def test_the_contract_says_how_long_a_stream_lasts() -> None:
    """Who builds another market's gateway reads it there."""
    contract = Path(__file__).parents[3] / "protos/guqiao/gateway/v1/gateway_service.proto"
    comment = contract.read_text().partition("rpc FetchCalls")[0].rpartition("\n\n")[2]
    assert fetched_calls.STREAM_SECONDS % 60 == 0
    assert f"ends after {fetched_calls.STREAM_SECONDS // 60:.0f} minutes" in comment
