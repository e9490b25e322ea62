"""The relay between two real ledgers: whatever fails in between, each packet has one effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from services.chassis.errors import TooLargeError
from services.chassis.grpc_server import error_of_code
from services.gateway import handlers as gateway_handlers
from services.gateway import open_packets, store
from services.gateway.domain.relay import PacketState
from tests.integration.gateway.killed import KilledError, die, dying_at
from tests.plugins.link_lab import KEYS, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until

SENT, RECEIVED, ACKNOWLEDGED = 1, 2, 3


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    async with open_link(new_database) as opened:
        yield opened


@pytest.mark.req("N0-07", "T2-14", "G2-19-4")
async def test_packets_and_acknowledgements_go_by_themselves_while_blocks_come(
    link: LinkLab,
) -> None:
    """Everything at work: publishers, followers, relay. Sixty packets, more than one delivery."""
    async with link.at_work():
        for _ in range(12):
            link.report(5)
            await asyncio.sleep(0)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 60)
    assert link.recorded() == 60
    assert link.acknowledged() == 60
    await link.project()
    while await link.relay.anchor_some():
        pass
    rows = await link.market.rows("packets_sent", "sequence")
    for row in rows:
        assert row["remote_transaction_id"] is not None
        assert row["acknowledgement_transaction_id"] is not None
        anchor = packet_pb2.Anchor.FromString(row["anchor"])
        set_of_csrc = link.regulator.node.trust.replica_set
        verify_header(anchor.certified_header, set_of_csrc, KEYS.provider.verify)


DELIVERY_STEPS = ["before the call", "after the call", "before it is noted"]


@pytest.mark.req("N0-07", "G2-20-1")
@pytest.mark.parametrize("step", DELIVERY_STEPS)
async def test_a_relay_killed_while_it_delivers_begins_again_with_one_effect(
    link: LinkLab, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.report(3)
    await link.project()
    real = link.called.stub

    class Dying:
        async def DeliverPackets(self, request: Any, **options: Any) -> Any:
            if step == "before the call":
                raise KilledError
            answer = await real.DeliverPackets(request, **options)
            if step == "after the call":
                raise KilledError
            return answer

    async def die(*_: object) -> None:
        raise KilledError

    link.called.stub = Dying()  # type: ignore[assignment]
    if step == "before it is noted":
        monkeypatch.setattr(store, "mark_received", die)
    with pytest.raises(KilledError):
        await link.relay.deliver_some()
    monkeypatch.undo()
    assert await link.states() == [SENT] * 3

    link.relay = link.another_relay()
    await link.deliver_and_acknowledge()

    assert await link.states() == [ACKNOWLEDGED] * 3
    assert link.recorded() == 3
    assert link.acknowledged() == 3


@pytest.mark.req("N0-07")
@pytest.mark.parametrize(
    "step", ["receipts fetched", "light client updated", "acknowledged on the chain"]
)
async def test_a_relay_killed_while_it_acknowledges_begins_again_with_one_effect(
    link: LinkLab, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.report(3)
    await link.project()
    await link.relay.deliver_some()
    await link.project()
    dies_at = {"receipts fetched": 1, "light client updated": 2, "acknowledged on the chain": 3}[
        step
    ]
    monkeypatch.setattr(link.relay.client, "submit", dying_at(dies_at, link.relay.client))
    if dies_at == 3:
        monkeypatch.setattr(store, "mark_acknowledged", die)
    with pytest.raises(KilledError):
        await link.relay.acknowledge_some()
    monkeypatch.undo()
    assert await link.states() == [RECEIVED] * 3

    link.relay = link.another_relay()
    await link.deliver_and_acknowledge()

    assert await link.states() == [ACKNOWLEDGED] * 3
    assert link.acknowledged() == 3
    rows = await link.market.rows("packets_sent", "sequence")
    homes = {
        receipt.transaction_id
        for block in link.market.node.chain.blocks.values()
        for receipt in block.receipts
        if any(event.topic == "packet.acknowledged" for event in receipt.events)
    }
    assert {row["acknowledgement_transaction_id"] for row in rows} == homes


async def test_a_read_model_that_lags_is_waited_for_and_then_said(link: LinkLab) -> None:
    """PACKET_UNKNOWN while the regulator's projection is behind; all is well once it is level."""
    link.report()
    await link.project()
    await link.relay.deliver_some()
    with pytest.raises(GuqiaoError) as behind:
        await link.relay.acknowledge_some()
    assert behind.value.code == "PACKET_UNKNOWN"
    assert await link.states() == [RECEIVED]
    asking = asyncio.ensure_future(link.relay.acknowledge_some())
    await asyncio.sleep(0)
    await link.project()
    assert await asking == 1
    assert await link.states() == [ACKNOWLEDGED]


async def test_what_cannot_be_proven_for_long_is_delivered_again(link: LinkLab) -> None:
    """The other gateway only said that it had delivered: five receipts in vain undo that."""
    link.report(2)
    await link.project()
    async with link.market.pool.acquire() as connection:
        sent = await open_packets.list_open(
            connection, "shandong", "csrc", "data_object", PacketState.SENT, 50
        )
        await store.mark_received(connection, [row.packet for row in sent])
    for _ in range(5):
        assert await link.states() == [RECEIVED] * 2
        with pytest.raises(GuqiaoError):
            await link.relay.acknowledge_some()
    assert await link.states() == [SENT] * 2
    await link.deliver_and_acknowledge()
    assert await link.states() == [ACKNOWLEDGED] * 2
    assert link.recorded() == 2


@pytest.mark.req("N0-07")
async def test_packets_out_of_order_are_refused_and_the_missing_ones_come_first(
    link: LinkLab,
) -> None:
    link.report(3)
    await link.project()
    await link.market.pool.execute("UPDATE packets_sent SET state = 2 WHERE sequence < 3")
    with pytest.raises(GuqiaoError) as refused:
        await link.relay.deliver_some()
    assert refused.value.code == "PACKET_OUT_OF_ORDER"
    assert link.recorded() == 0
    assert await link.states() == [SENT] * 3
    link.report()  # The next block gives a next header, so the request is another one.
    await link.deliver_and_acknowledge()
    assert await link.states() == [ACKNOWLEDGED] * 4
    assert link.recorded() == 4


@pytest.mark.req("N0-07")
async def test_packets_too_large_for_one_transaction_go_in_several(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination's chain takes at most three packets of this size at a time."""
    real = gateway_handlers.Handlers.deliver

    async def deliver(self: gateway_handlers.Handlers, header: Any, packets: Any) -> Any:
        if len(packets) > 3:
            raise TooLargeError("TRANSACTION_TOO_LARGE", bytes=len(packets), maximum=3)
        return await real(self, header, packets)

    monkeypatch.setattr(gateway_handlers.Handlers, "deliver", deliver)
    async with link.at_work():
        link.report(8)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 8)
    assert link.recorded() == 8


@pytest.mark.req("G2-16-4")
async def test_a_conflict_parks_the_packet_raises_an_alarm_and_stops_only_there(
    link: LinkLab,
) -> None:
    """The market's read model was tampered with: the chain that recorded another packet says so."""
    link.report(2)
    await link.deliver_and_acknowledge()
    link.report(2)
    await link.project()
    other = packet_payload_of(await link.market.rows("packets_sent", "sequence"), 1)
    await link.market.pool.execute(
        "UPDATE packets_sent SET state = 1, payload = $1 WHERE sequence = 2", other
    )

    async with asyncio.timeout(30):
        running = asyncio.ensure_future(link.relay.run())
        try:
            while await parked(link) == 0:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    alarms = link.market.runtime.telemetry.metrics.render().decode()
    assert 'guqiao_gateway_alarms_total{code="PACKET_CONFLICT",remote="csrc"} 1.0' in alarms
    status = await link.market_handlers.get_link("csrc")
    assert (status.counts.sent, status.counts.parked) == (4, 1)
    rows = await link.market.rows("packets_sent", "sequence")
    assert [row["sequence"] for row in rows if row["parked_cause"]] == [2]
    assert await link.relay.deliver_some() == 0, "nothing overtakes a parked packet"
    assert link.recorded() == 2


@pytest.mark.req("G2-16-4")
async def test_a_packet_that_was_parked_for_nothing_is_resumed_once_and_its_port_goes_on(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other gateway said that there was a conflict, and there was none."""
    honest = gateway_handlers.Handlers.deliver
    lies = 0

    async def deliver(self: Any, *arguments: Any) -> Any:
        nonlocal lies
        if not lies:
            lies += 1
            raise error_of_code(
                "PACKET_CONFLICT", source="shandong", port="data_object", sequence=1
            )
        return await honest(self, *arguments)

    monkeypatch.setattr(gateway_handlers.Handlers, "deliver", deliver)
    async with link.at_work():
        link.report(4)

        async def is_parked() -> bool:
            return await parked(link) == 1

        await wait_until("the packet is parked", is_parked)
        async with link.market.pool.acquire() as connection:
            [packet] = await open_packets.list_parked(connection)
            assert packet.name == "csrc/data_object/1"
            assert "PACKET_CONFLICT" in packet.cause
            for resumed in (True, False):
                assert resumed == await open_packets.resume(
                    connection, destination="csrc", port="data_object", sequence=1
                )
            assert await open_packets.list_parked(connection) == []
        await link.wait_states(lambda: [ACKNOWLEDGED] * 4)
    assert link.recorded() == 4


def packet_payload_of(rows: list[dict[str, Any]], sequence: int) -> bytes:
    """The payload of one packet."""
    (found,) = (row["payload"] for row in rows if row["sequence"] == sequence)
    assert isinstance(found, bytes)
    return found


async def parked(link: LinkLab) -> int:
    """How many packets are set aside."""
    found = await link.market.pool.fetchval(
        "SELECT count(*) FROM packets_sent WHERE parked_cause IS NOT NULL"
    )
    assert isinstance(found, int)
    return found


@pytest.mark.req("T2-14", "N0-07")
async def test_the_market_goes_on_while_the_regulator_is_away_and_catches_up_after(
    link: LinkLab,
) -> None:
    """The regulatory chain's endpoints go away under load; the local chain takes every operation,
    the relay says why nothing moves, and when it is back everything is recorded once."""
    async with link.at_work():
        link.report(2)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 2)
        await link.regulator.node.stop()
        height = link.market.node.chain.header.height
        for _ in range(4):
            assert link.report(3).accepted
        assert link.market.node.chain.header.height == height + 4
        await link.wait_states(lambda: [ACKNOWLEDGED] * 2 + [SENT] * 12)
        await link.regulator.node.start()
        await link.wait_states(lambda: [ACKNOWLEDGED] * 14)
    assert link.recorded() == 14
    assert link.acknowledged() == 14


@pytest.mark.req("N0-07")
async def test_two_relays_at_once_have_one_effect(link: LinkLab) -> None:
    """Reliability G37: both carry the same packets both ways at the same time."""
    link.report(6)
    await link.project()
    first, second = link.relay, link.another_relay()
    delivered = await asyncio.gather(first.deliver_some(), second.deliver_some())
    assert list(delivered) == [6, 6]
    await link.project()
    await asyncio.gather(first.acknowledge_some(), second.acknowledge_some())
    await link.project()
    assert await link.states() == [ACKNOWLEDGED] * 6
    assert link.recorded() == 6
    assert link.acknowledged() == 6


async def test_rebuilt_rows_get_their_anchors_back(link: LinkLab) -> None:
    link.report(3)
    await link.deliver_and_acknowledge()
    before = await link.market.rows("packets_sent", "sequence")
    await link.market.pool.execute("TRUNCATE packets_sent, packets_received, projected_blocks")
    await link.project()
    assert await link.states() == [ACKNOWLEDGED] * 3
    assert await link.relay.anchor_some() == 3
    after = await link.market.rows("packets_sent", "sequence")
    assert [row["remote_transaction_id"] for row in after] == [
        row["remote_transaction_id"] for row in before
    ]
    assert all(row["anchor"] for row in after)
    assert await link.relay.anchor_some() == 0


@pytest.mark.parametrize("lie", ["too few", "other receipt", "other header"])
async def test_receipts_that_do_not_hold_change_nothing_and_do_not_end_the_relay(
    link: LinkLab, lie: str
) -> None:
    link.report(2)
    await link.project()
    await link.relay.deliver_some()
    await link.project()
    real = link.called.stub

    class Liar:
        async def GetPacketReceipts(self, request: Any, **options: Any) -> Any:
            answer = await real.GetPacketReceipts(request, **options)
            if lie == "too few":
                del answer.receipts[1]
            elif lie == "other receipt":
                answer.receipts[0].receipt = answer.receipts[1].receipt
            else:
                height = link.market.node.chain.header.height
                own = link.market.node.chain.block_message(height)
                answer.certified_header.CopyFrom(own.certified_header)
            return answer

    link.called.stub = Liar()  # type: ignore[assignment]
    with pytest.raises(ProofError):
        await link.relay.acknowledge_some()
    assert await link.states() == [RECEIVED] * 2
    assert link.acknowledged() == 0
    assert all(row["anchor"] is None for row in await link.market.rows("packets_sent", "sequence"))


async def test_a_refused_object_comes_home_as_a_refusal_and_blocks_nothing(link: LinkLab) -> None:
    """G30: its error receipt is the acknowledgement; the packets behind it are recorded."""
    link.report(1, broken=True)
    link.report(1)
    await link.deliver_and_acknowledge()
    assert await link.states() == [ACKNOWLEDGED] * 2
    assert link.recorded() == 1
    await link.project()
    rows = await link.market.rows("packets_sent", "sequence")
    assert [row["refused_code"] for row in rows] == ["SOURCE_MISSING", ""]
