"""What a market's gateway keeps and says of the calls that it fetched: as much as its server does
of those that are made to it, and whoever asked learns what became of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import trace
from structlog.testing import capture_logs

from guqiao_sdk.errors import DeniedError, ErrorFacts, ExhaustedError, GuqiaoError
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.packet import Deadline
from services.chassis.grpc_server import Policy
from services.chassis.grpc_server.ports import Decision
from services.consensus.domain.contracts.packet_link import settling
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.gateway import handlers as gateway_handlers
from services.gateway.api import POLICIES
from services.gateway.fetching import Fetching
from tests.integration.gateway.senders import ACKNOWLEDGED, RECEIVED, SENT, ended, send
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, wait_until

pytestmark = pytest.mark.req("G2-19-2", "N0-07")

FAR = Deadline(height=10**6)
SERVICE = "/guqiao.gateway.v1.GatewayService"
UNKNOWN_FIELD = b"\x98\x06\x01"
"""Field 99, a number: no message of ours has it."""

ANSWER_BYTES_MAX = 64 * 1024
"""More than one receipt with its proofs takes, less than many."""


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    """Nobody fetches yet; a large answer is refused."""
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    monkeypatch.setattr(settling, "SENDERS", {})  # Another contract sends here: nobody hears.
    small = Policy(frozenset({"peer_gateway"}), message_bytes_max=ANSWER_BYTES_MAX)
    monkeypatch.setitem(POLICIES, f"{SERVICE}/AnswerCall", small)
    async with open_link(new_database, packets_version=3, fetches=False) as opened:
        yield opened


async def send_to_market(link: LinkLab, count: int) -> None:
    send(link.regulator, link.market, *[FAR] * count, port=DELIVERY)
    await link.project()


async def states(link: LinkLab) -> list[int]:
    """Of the regulator's packets, in order."""
    rows = await link.regulator.rows("packets_sent", "sequence")
    return [row["state"] for row in rows]


class Changed:
    """A stream whose messages are changed on their way; `came` is what they were then."""

    def __init__(self, stream: Any, change: Callable[[bytes], bytes], came: list[bytes]) -> None:
        self._stream, self._change, self._came = aiter(stream), change, came
        self.cancel = stream.cancel

    def __aiter__(self) -> Changed:
        return self

    async def __anext__(self) -> bytes:
        message = self._change(await anext(self._stream))
        self._came.append(message)
        return message


def listen(end: Fetching, change: Callable[[bytes], bytes] = bytes) -> list[bytes]:
    """What comes to a gateway that fetches, from now on."""
    real, came = end.fetch_calls, list[bytes]()
    end.fetch_calls = lambda request: Changed(real(request), change, came)
    return came


@asynccontextmanager
async def running(end: Fetching) -> AsyncIterator[None]:
    """A gateway fetches inside the block."""
    task = asyncio.ensure_future(end.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def count_of(lab: Lab, name: str, **labels: str) -> float:
    """The value of a counter."""
    return lab.runtime.telemetry.metrics.registry.get_sample_value(name, labels) or 0.0


def answer_spans(lab: Lab) -> list[Any]:
    spans = lab.spans.get_finished_spans()
    return [span for span in spans if span.name == "gateway.answer_call"]


async def test_each_fetched_call_is_recorded_with_who_asked_what_and_its_trace(
    link: LinkLab,
) -> None:
    await send_to_market(link, 2)
    end = link.another_fetching()
    came = listen(end)
    async with running(end):
        assert await link.back.deliver_some() == 2
        await link.project()
        assert await link.back.acknowledge_some() == 2
    asked = [message for message in came if message]
    records = link.audited.records
    assert [(record.method, record.decision, record.code) for record in records] == [
        (f"{SERVICE}/DeliverPackets", Decision.ALLOWED, ""),
        (f"{SERVICE}/GetPacketReceipts", Decision.ALLOWED, ""),
    ]
    assert [record.request_digest for record in records] == [sm3(each).hex() for each in asked]
    for record, span in zip(records, answer_spans(link.market), strict=True):
        assert record.organisation == link.regulator.runtime.identity.organisation
        assert (record.domain, record.service) == ("shandong", "gateway")
        assert record.trace_id == f"{span.context.trace_id:032x}"


async def test_a_call_that_cannot_be_recorded_is_not_done(link: LinkLab) -> None:
    await send_to_market(link, 1)
    link.audited.is_full = True
    async with link.fetching():
        with pytest.raises(GuqiaoError) as refused:
            await link.back.deliver_some()
        assert refused.value.code == "AUDIT_UNAVAILABLE"
        organisation = link.regulator.runtime.identity.organisation
        name = "guqiao_rpc_refusals_total"
        assert count_of(link.market, name, organisation=organisation, code=refused.value.code) == 1
        assert await states(link) == [SENT]
        assert ended(link.market, "packet.received") == 0
        link.audited.is_full = False
        assert await link.back.deliver_some() == 1


def _with_unknown_field(message: bytes) -> bytes:
    return message + UNKNOWN_FIELD


def _without_a_beginning(message: bytes) -> bytes:
    """Its id stands behind what nobody knows: whose call it is cannot be said."""
    return UNKNOWN_FIELD + message


def spoil_first(end: Fetching, spoil: Callable[[bytes], bytes]) -> list[bytes]:
    """Spoil the first call that comes to a gateway; what it was then."""
    spoilt: list[bytes] = []

    def change(message: bytes) -> bytes:
        if not message or spoilt:
            return message
        spoilt.append(spoil(message))
        return spoilt[0]

    listen(end, change)
    return spoilt


async def test_a_newer_gateway_is_told_which_field_it_may_not_send_yet(link: LinkLab) -> None:
    """What it sent is recorded, done in no part, and set aside where it asked, until this gateway
    is updated and the packet replayed.
    """
    await send_to_market(link, 1)
    end = link.another_fetching()
    spoilt = spoil_first(end, _with_unknown_field)
    async with running(end):
        with pytest.raises(GuqiaoError) as refused:
            await link.back.deliver_some()
        assert refused.value.code == "REQUEST_MALFORMED"
        assert "unknown field 99" in refused.value.fields["detail"]
        [record] = link.audited.records
        assert (record.decision, record.code) == (Decision.REFUSED, "REQUEST_MALFORMED")
        assert record.request_digest == sm3(spoilt[0]).hex()
        assert ended(link.market, "packet.received") == 0
        [row] = await link.regulator.rows("packets_sent", "sequence")
        assert "unknown field 99" in row["parked_cause"]
        await link.regulator_handlers.resume_packet("shandong", DELIVERY, 1)
        assert await link.back.deliver_some() == 1, "the stream goes on"
    organisation = link.regulator.runtime.identity.organisation
    name = "guqiao_rpc_refusals_total"
    assert count_of(link.market, name, organisation=organisation, code=record.code) == 1


async def test_a_message_that_does_not_say_which_call_it_is_is_refused_on_record(
    link: LinkLab,
) -> None:
    await send_to_market(link, 1)

    async def is_recorded() -> bool:
        return bool(link.audited.records)

    end = link.another_fetching()
    spoil_first(end, _without_a_beginning)
    async with running(end):
        asking = asyncio.ensure_future(link.back.deliver_some())
        await wait_until("a refusal is recorded", is_recorded)
        [record] = link.audited.records
        assert (record.decision, record.code) == (Decision.REFUSED, "REQUEST_MALFORMED")
        asking.cancel()  # It would wait in vain.
        await asyncio.gather(asking, return_exceptions=True)
        assert await link.back.deliver_some() == 1, "the stream goes on"


async def test_what_a_fetched_call_ends_with_is_recorded_and_counted_for_who_asked(
    link: LinkLab,
) -> None:
    link.market.node.chain.state.values[b"packets/paused/csrc"] = b'{"reason":"-"}'
    await send_to_market(link, 1)
    async with link.fetching():
        with pytest.raises(GuqiaoError) as refused:
            await link.back.deliver_some()
    assert refused.value.code == "LINK_PAUSED"
    allowed, last = link.audited.records
    assert (allowed.decision, allowed.code) == (Decision.ALLOWED, "")
    assert (last.decision, last.code) == (Decision.ENDED, "LINK_PAUSED")
    assert replace(last, decision=allowed.decision, code="", time_ms=0) == replace(
        allowed, time_ms=0
    ), "the same call, by the same gateway"
    organisation = link.regulator.runtime.identity.organisation
    name = "guqiao_rpc_refusals_total"
    assert count_of(link.market, name, organisation=organisation, code="LINK_PAUSED") == 1
    [span] = answer_spans(link.market)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["guqiao.code"] == "LINK_PAUSED"


async def test_rights_that_this_gateway_lacks_leave_a_line_at_the_trace_that_is_told(
    link: LinkLab,
) -> None:
    """Who asked can mend nothing and learns a trace id alone; a log here has it."""

    async def deliver(request: Any, context: Any) -> Any:
        raise DeniedError(ErrorFacts(code="ROLE_MISSING", message="ours"))

    await send_to_market(link, 1)
    link.market_servicer.DeliverPackets = deliver  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with link.fetching():
            with pytest.raises(GuqiaoError) as failed:
                await link.back.deliver_some()
    assert failed.value.code == "INTERNAL"
    [line] = [line for line in logs if line["event"] == "call.failed"]
    assert line["log_level"] == "error"
    assert line["trace_id"] == failed.value.trace_id != ""
    [span] = answer_spans(link.market)
    assert span.status.status_code is trace.StatusCode.ERROR


async def test_packets_are_counted_while_their_stream_stands(link: LinkLab) -> None:
    name, labels = "guqiao_gateway_packets_total", {"remote": "csrc", "step": "fetch"}
    await send_to_market(link, 2)
    async with link.fetching():
        assert await link.back.deliver_some() == 2
        assert count_of(link.market, name, **labels) == 2
        await send_to_market(link, 3)
        assert await link.back.deliver_some() == 3
        assert count_of(link.market, name, **labels) == 5


async def test_an_answer_too_large_to_bring_back_is_asked_for_in_parts(link: LinkLab) -> None:
    await send_to_market(link, 30)
    async with link.fetching():
        assert await link.back.deliver_some() == 30
        await link.project()
        with pytest.raises(GuqiaoError) as refused:
            await link.back.acknowledge_some()
        assert refused.value.code == "REQUEST_TOO_LARGE"
        assert await states(link) == [RECEIVED] * 30

        async def are_acknowledged() -> bool:
            return await states(link) == [ACKNOWLEDGED] * 30

        async with link.at_work(both_ways=True):
            await wait_until("all are acknowledged", are_acknowledged)
    assert ended(link.regulator, "packet.acknowledged") == 30


@pytest.mark.parametrize(
    ("code", "told"), [("QUEUE_FULL", "QUEUE_FULL"), ("", "GM_TLS_LINK_BROKEN")]
)
async def test_an_answer_that_is_refused_says_so_to_who_waits(
    link: LinkLab, code: str, told: str
) -> None:
    """It is not left to wait its minute for an outcome that nobody knows."""
    await send_to_market(link, 1)
    end = link.another_fetching()
    real, refusals = end.stub, 0

    class Refusing:
        async def AnswerCall(self, answer: Any, **options: Any) -> Any:
            nonlocal refusals
            refusals += 1
            if refusals == 1:
                raise ExhaustedError(ErrorFacts(code=code, message="-"))
            return await real.AnswerCall(answer, **options)

    end.stub = Refusing()  # type: ignore[assignment]
    async with running(end):
        with pytest.raises(GuqiaoError) as refused:
            await link.back.deliver_some()
        assert refused.value.code == told
        assert await link.back.deliver_some() == 1, "it was done, and is not done twice"
    assert ended(link.market, "packet.received") == 1
