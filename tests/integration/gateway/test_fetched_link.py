"""Both directions of a link over connections that the market's gateway opens alone: what the
regulatory chain sends has one effect, whoever dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.packet import Deadline
from services.chassis.grpc_server import error_of_code
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.gateway import fetched_calls
from services.gateway import fetching as gateway_fetching
from services.gateway.domain.errors import LinkUnattendedError
from tests.integration.gateway.killed import KilledError
from tests.integration.gateway.senders import ACKNOWLEDGED, RECEIVED, SENT, ended, send
from tests.integration.gateway.test_gateway_rpc import delivery
from tests.plugins.ledger_node import identity_of
from tests.plugins.link_lab import KEYS, OTHER_PEER, STRANGER, LinkLab, open_unfetched
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal, wait_until

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

pytestmark = pytest.mark.req("G2-03-1", "N0-07", "T2-14")

FAR = Deadline(height=10**6)
DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    async with open_unfetched(new_database, monkeypatch) as opened:
        yield opened


def send_to_market(link: LinkLab, count: int) -> None:
    send(link.regulator, link.market, *[FAR] * count, port=DELIVERY)


async def states(link: LinkLab) -> list[int]:
    """Of the regulator's packets, in order."""
    rows = await link.regulator.rows("packets_sent", "sequence")
    return [row["state"] for row in rows]


async def wait_acknowledged(link: LinkLab, count: int) -> None:
    async def are_acknowledged() -> bool:
        return await states(link) == [ACKNOWLEDGED] * count

    await wait_until("all are acknowledged", are_acknowledged)


def assert_one_effect(link: LinkLab, count: int) -> None:
    assert ended(link.market, "packet.received") == count
    assert ended(link.regulator, "packet.acknowledged") == count


@pytest.mark.req("G2-18-1")
async def test_packets_go_both_ways_over_what_the_market_opens(link: LinkLab) -> None:
    """The regulator's end has neither an address of the market's nor a channel to it."""
    async with link.fetching(), link.at_work(both_ways=True):
        for _ in range(12):
            send_to_market(link, 5)
            link.report(2)
            await asyncio.sleep(0)
        await wait_acknowledged(link, 60)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 24)
    assert_one_effect(link, 60)
    assert link.recorded() == 24
    assert link.regulator.channels, "the market's, to the regulator's door"
    assert not link.market.channels


async def test_two_gateways_of_the_market_and_two_relays_have_one_effect(link: LinkLab) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(link.fetching())
        await stack.enter_async_context(link.at_work(both_ways=True))
        other = asyncio.ensure_future(link.another_relay_back().run())
        try:
            for _ in range(6):
                send_to_market(link, 5)
                await asyncio.sleep(0)
            await wait_acknowledged(link, 30)
            assert not other.done(), other.exception()
        finally:
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
    assert_one_effect(link, 30)


@pytest.mark.parametrize("step", ["before it is done", "before it is answered"])
@pytest.mark.parametrize("method", ["DeliverPackets", "GetPacketReceipts"])
async def test_a_gateway_of_the_market_killed_at_a_call_leaves_it_to_the_next(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch, method: str, step: str
) -> None:
    send_to_market(link, 3)
    await link.project()
    dying = link.another_fetching()
    real = link.market_servicer
    died = asyncio.Event()

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name) if name != method else self._die

        async def _die(self, request: Any, context: Any) -> Any:
            if step == "before it is answered":
                await getattr(real, method)(request, context)
            died.set()
            raise KilledError

    dying.answering = Dying()  # type: ignore[assignment]
    killed = asyncio.ensure_future(dying.run())
    async with link.at_work(both_ways=True):
        await died.wait()
        [end] = await asyncio.gather(killed, return_exceptions=True)
        assert isinstance(end, BaseException)
        async with link.fetching():
            await wait_acknowledged(link, 3)
    assert_one_effect(link, 3)


async def test_a_regulators_relay_killed_while_it_waits_begins_again_with_one_effect(
    link: LinkLab,
) -> None:
    send_to_market(link, 3)
    await link.project()
    gate, real = asyncio.Event(), link.market_servicer.DeliverPackets
    taken = asyncio.Event()

    async def deliver(request: Any, context: Any) -> Any:
        taken.set()
        await gate.wait()
        return await real(request, context)

    link.market_servicer.DeliverPackets = deliver  # type: ignore[method-assign]
    async with link.fetching():
        waiting = asyncio.ensure_future(link.back.deliver_some())
        await taken.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        gate.set()  # It is done all the same, and its answer awaited by nobody.
        link.back = link.another_relay_back()
        assert await link.back.deliver_some() == 3
        await link.project()
        assert await link.back.acknowledge_some() == 3
    assert_one_effect(link, 3)


@pytest.mark.req("T2-12")
async def test_packets_wait_while_the_markets_gateway_is_away_and_the_link_says_so(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "UNATTENDED_SECONDS", 0.05)
    async with link.at_work(both_ways=True):
        send_to_market(link, 2)

        async def is_said() -> bool:
            return f"deliver {DELIVERY}: " in link.back.last_error

        await wait_until("the relay says that nobody fetches", is_said)
        assert str(LinkUnattendedError("shandong")) in link.back.last_error
        assert await states(link) == [SENT] * 2
        async with link.fetching():
            await wait_acknowledged(link, 2)

            async def is_over() -> bool:
                return link.back.last_error == ""

            await wait_until("nothing is left to say", is_over)
    assert_one_effect(link, 2)


async def test_the_chains_refusal_comes_back_with_its_code(link: LinkLab) -> None:
    """As if the regulator's gateway had called."""
    link.market.node.chain.state.values[b"packets/paused/csrc"] = b'{"reason":"-"}'
    send_to_market(link, 1)
    await link.project()
    async with link.fetching():
        with pytest.raises(GuqiaoError) as refused:
            await link.back.deliver_some()
    assert refused.value.code == "LINK_PAUSED"
    assert await states(link) == [SENT]


@pytest.mark.req("G2-16-1")
async def test_g35_what_goes_to_a_market_is_fetched_by_its_own_gateway_alone(
    link: LinkLab,
) -> None:
    """Neither another market's gateway nor who is none may take a packet, or answer for it."""
    send_to_market(link, 1)
    await link.project()
    callers = {
        OTHER_PEER: (DENIED, "ORGANISATION_MISMATCH"),
        STRANGER: (DENIED, "ROLE_MISSING"),
    }
    own = link.market.runtime.identity.did
    async with link.fetching():
        delivering = asyncio.ensure_future(link.back.deliver_some())
        for did, expected in callers.items():
            assert await fetch_refusal(door(link, did), "shandong") == expected
            answer = pb.AnswerCallRequest(chain_id="shandong", call_id=bytes(16))
            assert await refusal(door(link, did).AnswerCall(answer)) == expected
        unknown = grpc.StatusCode.NOT_FOUND, "CLIENT_UNKNOWN"
        assert await fetch_refusal(door(link, own), "beijing") == unknown
        assert await delivering == 1
    assert await states(link) == [RECEIVED]


@pytest.mark.req("G2-16-1", "G2-19-2")
async def test_g35_a_market_is_heard_and_answered_through_its_own_gateway_alone(
    link: LinkLab,
) -> None:
    """Another market's gateway brings no packet of it, true or not, and learns nothing of one."""
    link.report()
    brought = await delivery(link)
    key: dict[str, Any] = {"source": "shandong", "port": "data_object"}
    receipts = pb.GetPacketReceiptsRequest(**key, sequences=[1])
    absences = pb.GetPacketAbsencesRequest(**key, sequences=[2])
    other, own = door(link, OTHER_PEER), door(link, link.market.runtime.identity.did)
    mismatch = DENIED, "ORGANISATION_MISMATCH"
    before = link.regulator.node.submissions
    assert await refusal(other.DeliverPackets(brought)) == mismatch
    assert await refusal(other.GetPacketAbsences(absences)) == mismatch
    assert link.regulator.node.submissions == before
    await own.DeliverPackets(brought)
    await link.project()
    assert await refusal(other.GetPacketReceipts(receipts)) == mismatch
    assert await refusal(other.GetPacketAbsences(absences)) == mismatch
    assert not (await own.GetPacketAbsences(absences)).absences[0].is_received
    assert (await own.GetPacketReceipts(receipts)).receipts[0].receipt
    assert link.recorded() == 1


def door(link: LinkLab, did: str) -> GatewayServiceAsyncStub:
    caller = identity_of(link.regulator.node.chain, KEYS, did)
    return GatewayServiceStub(link.regulator.channel(link.port, caller))


async def fetch_refusal(stub: GatewayServiceAsyncStub, chain: str) -> tuple[grpc.StatusCode, str]:
    async def fetch() -> None:
        async for _ in stub.FetchCalls(pb.FetchCallsRequest(chain_id=chain)):
            return

    return await refusal(fetch())


async def test_a_stream_that_falls_silent_is_opened_again(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The regulator's machine went away without a word."""
    patience = gateway_fetching.SILENCE_SECONDS_MAX
    monkeypatch.setattr(gateway_fetching, "SILENCE_SECONDS_MAX", 0.05)
    end = link.another_fetching()
    real, opened = end.fetch_calls, 0

    def silent(request: Any) -> Any:
        nonlocal opened
        opened += 1
        if opened == 1:
            return _Nothing()
        monkeypatch.setattr(gateway_fetching, "SILENCE_SECONDS_MAX", patience)
        return real(request)

    end.fetch_calls = silent
    running = asyncio.ensure_future(end.run())
    try:
        send_to_market(link, 1)
        await link.project()
        assert await link.back.deliver_some() == 1
        assert opened > 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class _Nothing:
    """A stream on which nothing comes, ever."""

    def __aiter__(self) -> _Nothing:
        return self

    async def __anext__(self) -> Any:
        await asyncio.Event().wait()

    def cancel(self) -> None:
        """It has nothing to stop."""


async def test_a_fault_at_one_call_is_answered_and_others_go_on(link: LinkLab) -> None:
    """A bug, or a refusal of the gateway itself, ends no stream."""
    send_to_market(link, 2)
    await link.project()
    real, calls = link.market_servicer.DeliverPackets, 0

    async def deliver(request: Any, context: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        if calls == 2:
            raise error_of_code("DATABASE_UNAVAILABLE")
        return await real(request, context)

    link.market_servicer.DeliverPackets = deliver  # type: ignore[method-assign]
    async with link.fetching():
        for code in ("INTERNAL", "DATABASE_UNAVAILABLE"):
            with pytest.raises(GuqiaoError) as failed:
                await link.back.deliver_some()
            assert failed.value.code == code
        assert await link.back.deliver_some() == 2


@pytest.mark.req("G2-19-3")
async def test_the_trace_of_a_packet_goes_on_at_the_gateway_that_fetches(link: LinkLab) -> None:
    send_to_market(link, 1)
    await link.project()
    async with link.fetching():
        assert await link.back.deliver_some() == 1
    [asked] = [
        span
        for span in link.regulator.spans.get_finished_spans()
        if span.name == "gateway.deliver_packets"
    ]
    [done] = [
        span
        for span in link.market.spans.get_finished_spans()
        if span.name == "gateway.answer_call"
    ]
    assert done.parent is not None
    assert done.parent.span_id == asked.context.span_id
    assert done.context.trace_id == asked.context.trace_id
