"""No packet, port or word of the other gateway stops what has nothing to do with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from guqiao_sdk.errors import ErrorFacts, GuqiaoError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.packet import Deadline
from services.chassis.errors import ServiceError
from services.consensus.domain.contracts.packet_link import breaker, settling
from services.consensus.domain.contracts.packet_link.breaker import Limits
from services.consensus.domain.contracts.packet_link.messages import DELIVERY, MESSAGE, RESULT
from services.gateway import giving_up
from services.gateway import handlers as gateway_handlers
from services.gateway import relay as gateway_relay
from services.gateway.questions import CalledGateway
from tests.integration.gateway.senders import (
    ACKNOWLEDGED,
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
from tests.plugins.link_lab import LinkLab, link_chains, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab

OBJECTS = "data_object"
FAR = Deadline(height=10**6)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    monkeypatch.setattr(gateway_relay, "EARLY_SECONDS", 0.0)
    monkeypatch.setattr(settling, "SENDERS", {})  # Another contract sends here: nobody hears.


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database, packets_version=3) as opened:
        yield opened


async def by_port(lab: Lab) -> dict[str, list[int]]:
    """The states of a chain's packets, in order, by port."""
    found: dict[str, list[int]] = {}
    for row in await lab.rows("packets_sent", "port, sequence"):
        found.setdefault(row["port"], []).append(row["state"])
    return found


def refusing(code: str, **fields: str) -> Any:
    """A gateway that refuses every delivery; nothing proves what it says."""

    class Liar:
        async def DeliverPackets(self, request: Any, **options: Any) -> NoReturn:
            raise GuqiaoError(ErrorFacts(code=code, message="", fields=fields))

    return Liar()


@pytest.mark.req("N0-07")
async def test_late_packets_are_left_out_and_the_others_go_at_once(link: LinkLab) -> None:
    pass_blocks(link.market, 3)
    send(link.regulator, link.market, FAR, Deadline(height=1), FAR, port=DELIVERY)
    await link.project()
    for _ in range(3):  # Again and again something is late.
        send(link.regulator, link.market, Deadline(height=1), FAR, port=DELIVERY)
        await link.project()
        assert await link.back.deliver_some() > 0
    states = await by_port(link.regulator)
    assert states[DELIVERY] == [RECEIVED, SENT, RECEIVED] + [SENT, RECEIVED] * 3
    assert refusals(link.market) == ["PACKET_EXPIRED"] * 3
    assert ended(link.market, "packet.received") == 5


@pytest.mark.req("N0-07", "G2-16-4")
async def test_g40_an_open_breaker_of_one_port_does_not_stop_another(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LIMITS", Limits(1, 1 << 30, 3_600_000))
    link.report(2)
    await link.project()
    assert await link.relay.deliver_some() == 2
    link.report(1)
    send(link.market, link.regulator, FAR)
    await link.project()
    with pytest.raises(GuqiaoError) as refused:
        await link.relay.deliver_some()
    assert refused.value.code == "BREAKER_OPEN"
    assert await by_port(link.market) == {
        OBJECTS: [RECEIVED, RECEIVED, SENT],
        MESSAGE: [RECEIVED],
    }


async def test_a_relay_at_work_delivers_beside_a_port_that_is_refused(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused port is tried again after longer and longer waits, the other goes on at once."""
    monkeypatch.setattr(breaker, "LIMITS", Limits(1, 1 << 30, 3_600_000))
    link.report(2)
    await link.project()
    assert await link.relay.deliver_some() == 2
    link.report(1)
    async with link.at_work():
        send(link.market, link.regulator, FAR)
        await link.wait_states(lambda: [ACKNOWLEDGED, ACKNOWLEDGED, ACKNOWLEDGED, SENT])
        assert "deliver data_object: " in link.relay.last_error
        assert MESSAGE not in link.relay.last_error


async def test_a_busy_port_leaves_the_others_their_turn(link: LinkLab) -> None:
    send(link.market, link.regulator, FAR)
    link.report(60)
    await link.project()
    assert await link.relay.deliver_some() == 51
    await link.project()
    assert await link.relay.acknowledge_some() == 51
    states = await by_port(link.market)
    assert states == {OBJECTS: [ACKNOWLEDGED] * 50 + [SENT] * 10, MESSAGE: [ACKNOWLEDGED]}


@pytest.mark.req("N0-07")
async def test_a_message_to_a_chain_of_version_2_does_not_stop_the_reporting(
    new_database: NewDatabase,
) -> None:
    """It is set aside as what it is, ends by its deadline, and is set aside no more."""
    market, _ = link_chains(3)
    async with open_link(new_database, market=market, packets_version=2) as link:
        pass_blocks(link.regulator, 1)
        last = height_of(link.regulator) + 20
        send(link.market, link.regulator, FAR, Deadline(height=last))
        link.report(2)
        await link.project()
        for _ in range(3):  # Which of them the refusal is about is found one by one.
            with pytest.raises(GuqiaoError) as refused:
                await link.relay.deliver_some()
            assert refused.value.code == "BODY_MALFORMED"
            link.relay._at_once[MESSAGE] = 1
        assert await link.relay.deliver_some() == 0
        assert link.recorded() == 2
        rows = await link.market.rows("packets_sent", "port, sequence")
        causes = [(row["parked_cause"] or "").partition(":")[0] for row in rows]
        assert causes == ["", "", "BODY_MALFORMED", "BODY_MALFORMED"]
        pass_blocks(link.regulator, 20)
        await link.relay.time_out_some()  # Learns the height,
        assert await link.relay.time_out_some() == 1  # then ends what that ends.
        await link.project()
        rows = await link.market.rows("packets_sent", "port, sequence")
        assert [row["state"] for row in rows] == [RECEIVED, RECEIVED, SENT, TIMED_OUT]
        assert rows[-1]["parked_cause"] is None


@pytest.mark.parametrize("deadline", [Deadline(), FAR, Deadline(time_ms=2**53 - 1)])
async def test_a_false_word_of_expiry_loses_no_packet(link: LinkLab, deadline: Deadline) -> None:
    """The other gateway only says so; its header says otherwise."""
    pass_blocks(link.market, 1)
    pass_blocks(link.regulator, 1)
    send(link.regulator, link.market, deadline, port=RESULT)
    await link.project()
    real, link.back.gateway = (
        link.back.gateway,
        CalledGateway(refusing("PACKET_EXPIRED", port=RESULT, sequence="1")),
    )
    if deadline:
        assert await link.back.deliver_some() == 0
    else:  # What has no deadline is never late.
        with pytest.raises(GuqiaoError):
            await link.back.deliver_some()
    link.back.gateway = real
    assert await link.back.time_out_some() == 0
    assert await link.back.deliver_some() == 1
    assert await by_port(link.regulator) == {RESULT: [RECEIVED]}
    assert ended(link.regulator, "packet.timed_out") == 0


@pytest.mark.req("N0-07", "T2-14")
async def test_what_a_chain_that_is_not_admitted_leaves_open_is_given_up(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivered or not: no proof of it would be believed."""
    monkeypatch.setattr(giving_up, "PAUSE_SECONDS", 0.0)
    first = Deadline(time_ms=time_of(link.regulator) + 60_000)
    later = Deadline(time_ms=first.time_ms + 10_000_000)
    send(link.regulator, link.market, first, first, later, port=DELIVERY)
    await link.project()
    await link.regulator.pool.execute("UPDATE packets_sent SET state = 2 WHERE sequence = 1")
    chain, client = link.regulator.node.chain, link.regulator.runtime.client

    class Register:
        """Answers for the contract `chains`, which these chains do not run."""

        async def get_state_proof(self, key: str) -> Any:
            return SimpleNamespace(value=chain.state.values.get(key.encode()))

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    giving = replace(
        link.back._giving_up,
        client=cast(Any, Register()),
        now_ms=lambda: first.time_ms + 700_000,
    )
    assert await giving.look() == 0, "the market is admitted"
    chain.state.values[b"chains/standing/shandong"] = canonical_json(
        {"status": "DEREGISTERED", "scope": "ALL", "version": 1}
    )
    chain.execute(time_ms=first.time_ms + 600_001)
    assert await giving.look() == 2
    assert await giving.look() == 0
    assert await by_port(link.regulator) == {DELIVERY: [TIMED_OUT, TIMED_OUT, SENT]}
    await link.project()
    assert await by_port(link.regulator) == {DELIVERY: [TIMED_OUT, TIMED_OUT, SENT]}
    assert ended(link.regulator, "packet.timed_out") == 2


async def test_a_height_ends_a_packet_that_nobody_takes(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a delivery nor a receipt tells how high the destination is: the relay asks."""
    pass_blocks(link.regulator, 1)
    send(link.market, link.regulator, Deadline(height=height_of(link.regulator) + 3))
    await link.project()
    link.regulator.node.chain.state.values[b"packets/paused/shandong"] = b'{"reason":"-"}'
    with pytest.raises(GuqiaoError):
        await link.relay.deliver_some()
    monkeypatch.setattr(gateway_relay, "HEIGHT_SECONDS", 0.0)
    assert await link.relay.time_out_some() == 0
    pass_blocks(link.regulator, 5)
    assert await link.relay.time_out_some() == 0, "now the height is known"
    assert await link.relay.time_out_some() == 1
    assert await by_port(link.market) == {MESSAGE: [TIMED_OUT]}


@pytest.mark.req("G2-16-4")
async def test_a_link_that_is_resumed_goes_on_while_the_own_chain_stands_still(
    link: LinkLab,
) -> None:
    """The same header with the same packets is the same request: its refusal was bound to it."""
    link.report(1)
    await link.project()
    values = link.regulator.node.chain.state.values
    values[b"packets/paused/shandong"] = b'{"reason":"-"}'
    for _ in range(2):
        with pytest.raises(GuqiaoError) as refused:
            await link.relay.deliver_some()
        assert refused.value.code == "LINK_PAUSED"
    del values[b"packets/paused/shandong"]
    pass_blocks(link.regulator, 1)
    assert await link.relay.deliver_some() == 1
    assert link.recorded() == 1


async def test_a_destination_that_contradicts_itself_is_said_once_and_set_aside(
    link: LinkLab,
) -> None:
    """The own chain has taken a time-out, and the destination proves a receipt."""
    send(link.market, link.regulator, FAR, FAR)
    await link.project()
    assert await link.relay.deliver_some() == 2
    await link.project()
    values = link.market.node.chain.state.values
    values[b"packets/timed_out/csrc/market_message/" + b"1".rjust(20, b"0")] = canonical_json(
        {"commitment": "00", "destination_height": 1, "shown_by": "absence"}
    )
    with pytest.raises(ServiceError) as refused:
        await link.relay.acknowledge_some()
    assert refused.value.code == "PACKET_CONFLICT"
    assert await link.relay.acknowledge_some() == 1
    assert await by_port(link.market) == {MESSAGE: [RECEIVED, ACKNOWLEDGED]}
    first, _ = await link.market.rows("packets_sent", "port, sequence")
    assert first["parked_cause"].startswith("PACKET_CONFLICT: ")
    assert first["contradicted"]


async def test_a_replica_that_lags_does_not_hold_up_what_is_proven_later(link: LinkLab) -> None:
    """The header asked for is high enough for every packet that goes with it, of whichever port."""
    pass_blocks(link.market, 3)
    send(link.market, link.regulator, FAR)
    low = height_of(link.market)
    client = link.market.runtime.client
    await client.get_state_proof("packets/parameters")  # The node keeps the heights it is asked at.
    link.report(1)
    await client.get_state_proof("packets/parameters")
    send(link.market, link.regulator, FAR)
    await link.project()
    real: Any = link.relay.client.get_header

    async def lagging(height: int | None = None) -> Any:
        return await real(low if height is None else height)

    link.relay.client.get_header = lagging  # type: ignore[method-assign]
    assert await link.relay.deliver_some() == 3
