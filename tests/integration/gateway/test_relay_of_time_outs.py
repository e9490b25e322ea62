"""Packets with deadlines between two real ledgers, both ways: whatever fails, each ends once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1 import packet_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao_sdk.client.packet_messages import packet_to_message
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.packet_link import breaker, receiving, settling
from services.consensus.domain.contracts.packet_link.breaker import Limits
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.consensus.domain.contracts.packet_link.ports import LinkPort
from services.consensus.domain.contracts.packets import Port
from services.consensus.domain.contracts.packets_host import SystemHost
from services.gateway import handlers as gateway_handlers
from services.gateway import overdue
from tests.integration.gateway.killed import KilledError, die, dying_at
from tests.integration.gateway.senders import (
    ACKNOWLEDGED,
    ORDERED,
    RECEIVED,
    SENT,
    TIMED_OUT,
    ended,
    height_of,
    pass_blocks,
    refusals,
    send,
    time_of,
)
from tests.plugins.ledger_node import identity_of
from tests.plugins.link_lab import KEYS, STRANGER, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal, wait_until


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    monkeypatch.setattr(settling, "SENDERS", {})  # Another contract sends here: nobody hears.
    async with open_link(new_database, packets_version=3) as opened:
        yield opened


async def too_late(link: LinkLab, number: int = 2) -> None:
    """Packets that the regulatory chain refuses, because their height has passed there: one refusal
    is enough for all that are as late, and it is no failure of the link.
    """
    send(link.market, link.regulator, *[Deadline(height=height_of(link.regulator) + 1)] * number)
    pass_blocks(link.regulator, 2)
    await link.project()
    assert await link.relay.deliver_some() == 0
    assert refusals(link.regulator) == ["PACKET_EXPIRED"]
    assert await link.relay.deliver_some() == 0, "what has expired is not delivered again"
    assert refusals(link.regulator) == ["PACKET_EXPIRED"]
    assert await link.states() == [SENT] * number


@pytest.mark.req("N0-07", "G2-16-1")
async def test_what_came_too_late_times_out_by_proof_of_absence(link: LinkLab) -> None:
    await too_late(link)
    assert await link.relay.time_out_some() == 2
    assert await link.states() == [TIMED_OUT] * 2
    await link.project()
    assert await link.states() == [TIMED_OUT] * 2
    assert ended(link.market, "packet.timed_out") == 2
    assert await link.relay.time_out_some() == 0
    counts = (await link.market_handlers.get_link("csrc")).counts
    assert (counts.sent, counts.acknowledged, counts.timed_out) == (2, 0, 2)


@pytest.mark.req("N0-07", "G2-20-1")
@pytest.mark.parametrize("step", ["absences fetched", "light client updated", "timed out"])
async def test_a_relay_killed_while_it_times_out_begins_again_with_one_effect(
    link: LinkLab, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await too_late(link)
    dies_at = {"absences fetched": 1, "light client updated": 2, "timed out": 3}[step]
    with monkeypatch.context() as dying:
        dying.setattr(link.relay.client, "submit", dying_at(dies_at, link.relay.client))
        if dies_at == 3:
            dying.setattr(overdue, "mark_timed_out", die)
        with pytest.raises(KilledError):
            await link.relay.time_out_some()
    assert await link.states() == [SENT] * 2

    link.relay = link.another_relay()
    assert await link.relay.time_out_some() == 2
    await link.project()
    assert await link.states() == [TIMED_OUT] * 2
    assert ended(link.market, "packet.timed_out") == 2


@pytest.mark.req("N0-07")
async def test_two_relays_at_once_time_a_packet_out_once(link: LinkLab) -> None:
    """Who comes second may find nothing left to do."""
    await too_late(link)
    second = link.another_relay()
    ends = await asyncio.gather(link.relay.time_out_some(), second.time_out_some())
    assert sorted(ends) in ([0, 2], [2, 2])
    assert ended(link.market, "packet.timed_out") == 2


async def test_what_cannot_be_delivered_times_out_by_the_clock(link: LinkLab) -> None:
    """No delivery says that it is too late: the clock says when to ask, the proof decides."""
    pass_blocks(link.regulator, 1)
    deadline = Deadline(time_ms=time_of(link.regulator) + 5_000)
    send(link.market, link.regulator, deadline)
    await link.project()
    link.relay.now_ms = lambda: deadline.time_ms
    link.called.stub = None  # type: ignore[assignment]  # Nobody is asked before the time.
    assert await link.relay.time_out_some() == 0
    link.relay = link.another_relay()
    link.relay.now_ms = lambda: deadline.time_ms + 1
    pass_blocks(link.regulator, 3)
    assert await link.relay.time_out_some() == 0, "the destination may still take it"
    assert await link.states() == [SENT]
    pass_blocks(link.regulator, 3)
    assert await link.relay.time_out_some() == 1
    assert await link.states() == [TIMED_OUT]
    assert ended(link.market, "packet.timed_out") == 1


async def test_what_another_relay_delivered_in_time_is_acknowledged_and_not_timed_out(
    link: LinkLab,
) -> None:
    send(link.market, link.regulator, Deadline(height=height_of(link.regulator) + 3))
    await link.project()
    assert await link.relay.deliver_some() == 1
    await link.market.pool.execute("UPDATE packets_sent SET state = 1, expired = true")
    pass_blocks(link.regulator, 3)
    await link.project()
    assert await link.relay.time_out_some() == 1
    assert await link.states() == [RECEIVED]
    assert await link.relay.acknowledge_some() == 1
    assert await link.states() == [ACKNOWLEDGED]
    assert ended(link.market, "packet.timed_out") == 0


@pytest.mark.parametrize("lie", ["too few", "a receipt denied", "other header"])
async def test_absences_that_do_not_hold_change_nothing(link: LinkLab, lie: str) -> None:
    """Reliability G21: the other gateway denies what its chain has recorded."""
    send(link.market, link.regulator, Deadline(height=height_of(link.regulator) + 3))
    await link.project()
    assert await link.relay.deliver_some() == 1
    await link.market.pool.execute("UPDATE packets_sent SET state = 1, expired = true")
    pass_blocks(link.regulator, 3)
    real = link.called.stub

    class Liar:
        async def GetPacketAbsences(self, request: Any, **options: Any) -> Any:
            answer = await real.GetPacketAbsences(request, **options)
            if lie == "too few":
                del answer.absences[0]
            elif lie == "a receipt denied":
                answer.absences[0].is_received = False
            else:
                own = link.market.node.chain.block_message(height_of(link.market))
                answer.certified_header.CopyFrom(own.certified_header)
            return answer

    link.called.stub = Liar()  # type: ignore[assignment]
    with pytest.raises(ProofError):
        await link.relay.time_out_some()
    assert await link.states() == [SENT]
    assert ended(link.market, "packet.timed_out") == 0


@pytest.mark.req("N0-07")
async def test_a_packet_in_order_that_came_too_late_is_passed_over_and_the_next_goes_on(
    link: LinkLab,
) -> None:
    first, second = height_of(link.regulator) + 1, height_of(link.regulator) + 99
    send(
        link.market,
        link.regulator,
        Deadline(height=first),
        Deadline(height=second),
        port="data_object",
        packet_class=ORDERED,
    )
    pass_blocks(link.regulator, 2)
    await link.deliver_and_acknowledge()
    assert await link.states() == [TIMED_OUT, ACKNOWLEDGED]
    assert ended(link.market, "packet.timed_out") == 1


@pytest.mark.req("G2-03-1", "N0-07")
async def test_packets_go_from_the_regulatory_chain_to_a_market_and_come_home(
    link: LinkLab,
) -> None:
    """Both relays at work at once, each way in its own order."""
    async with link.at_work(both_ways=True):
        sent = send(link.regulator, link.market, *[Deadline(height=10**6)] * 3, port=DELIVERY)
        link.report(2)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 2)

        async def is_home() -> bool:
            rows = await link.regulator.rows("packets_sent", "sequence")
            return [row["state"] for row in rows] == [ACKNOWLEDGED] * 3

        await wait_until("the regulator's packets are acknowledged", is_home)
    assert len(sent) == 3
    assert ended(link.market, "packet.received") == 3
    assert ended(link.regulator, "packet.acknowledged") == 3


@pytest.mark.req("G2-16-4")
async def test_g40_an_open_breaker_raises_an_alarm_and_loses_nothing(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LIMITS", Limits(1, 1 << 30, 3_600_000))
    link.report(2)
    await link.project()
    assert await link.relay.deliver_some() == 2, "the transaction that passes the limit is taken"
    link.report(1)

    async with link.at_work():

        async def is_raised() -> bool:
            return all(
                f'guqiao_gateway_alarms_total{{code="BREAKER_OPEN",remote="{remote}"}}'
                in lab.runtime.telemetry.metrics.render().decode()
                for lab, remote in ((link.market, "csrc"), (link.regulator, "shandong"))
            )

        await wait_until("both gateways raise the alarm", is_raised)
    assert (await link.states())[-1] == SENT
    assert link.recorded() == 2


@pytest.mark.req("G2-19-5")
async def test_a_delivery_that_waits_for_a_revocation_list_raises_an_alarm_and_goes_on_later(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge_nothing(host: SystemHost, packet: Packet, height: int) -> dict[str, Json]:
        raise Refusal("CRL_STALE", authority="演示签发机构")

    port = Port(objects.NAME, judge_nothing, objects.record_exception)
    waiting = {"data_object": LinkPort(port, PacketClass.ORDERED)}
    async with link.at_work():
        with monkeypatch.context() as patch:
            patch.setattr(receiving, "ports_of", lambda host, source, version: waiting)
            link.report(1)

            async def is_raised() -> bool:
                return all(
                    f'guqiao_gateway_alarms_total{{code="CRL_STALE",remote="{remote}"}}'
                    in lab.runtime.telemetry.metrics.render().decode()
                    for lab, remote in ((link.market, "csrc"), (link.regulator, "shandong"))
                )

            await wait_until("both gateways raise the alarm", is_raised)
            assert link.recorded() == 0

        async def is_recorded() -> bool:
            return link.recorded() == 1

        await wait_until("what waited is recorded", is_recorded)


async def test_absences_are_told_to_gateways_for_a_bounded_number_of_packets(
    link: LinkLab,
) -> None:
    stub = GatewayServiceStub(link.regulator.channel(link.port, link.market.runtime.identity))
    malformed = (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
    for port, sequences in (("notice", []), ("notice", [*range(1, 52)]), ("notice", [0])):
        asked = pb.GetPacketAbsencesRequest(source="shandong", port=port, sequences=sequences)
        assert await refusal(stub.GetPacketAbsences(asked)) == malformed
    stranger = identity_of(link.regulator.node.chain, KEYS, STRANGER)
    other = GatewayServiceStub(link.regulator.channel(link.port, stranger))
    asked = pb.GetPacketAbsencesRequest(source="shandong", port="notice", sequences=[1])
    refused = await refusal(other.GetPacketAbsences(asked))
    assert refused == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")


async def test_a_packet_whose_class_is_none_is_not_taken_to_the_chain(link: LinkLab) -> None:
    (packet,) = send(link.market, link.regulator, Deadline(height=99))
    chain = link.market.node.chain
    block = chain.block_message(chain.header.height)
    request = pb.DeliverPacketsRequest(certified_header=block.certified_header)
    message = packet_to_message(packet)
    message.terms.packet_class = packet_pb2.PACKET_CLASS_UNSPECIFIED
    request.packets.add(packet=message, proof=b"proof")
    stub = GatewayServiceStub(link.regulator.channel(link.port, link.market.runtime.identity))
    height = height_of(link.regulator)
    refused = await refusal(stub.DeliverPackets(request))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
    assert height_of(link.regulator) == height
