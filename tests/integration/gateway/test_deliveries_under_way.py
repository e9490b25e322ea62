"""Several deliveries under way at once between two real ledgers: whatever becomes of one of them,
packets in order stay in order, and each has one effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.client.failures import failure
from guqiao_sdk.errors import UnavailableError
from guqiao_sdk.proof.transaction import Payload, SignedTransaction, parse_payload
from services.chassis.errors import TooLargeError
from services.gateway import deliveries as deliveries_module
from services.gateway import handlers as gateway_handlers
from services.gateway import store
from services.gateway.relay import Relay
from tests.integration.gateway.killed import KilledError
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until

SENT, RECEIVED, ACKNOWLEDGED = 1, 2, 3

pytestmark = pytest.mark.req("N0-07")


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    async with open_link(new_database) as opened:
        yield opened


@dataclass
class Way:
    """The way to the regulator's gateway, on which a test holds deliveries, each known by its first
    sequence, and all receipts; what is not held passes.
    """

    real: Any
    held: set[int] = field(default_factory=set)
    """Before they reach the gateway."""

    held_home: set[int] = field(default_factory=set)
    """On the way back."""

    lost: set[int] = field(default_factory=set)
    gives_receipts: bool = False
    begun: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    async def DeliverPackets(self, request: pb.DeliverPacketsRequest, **options: Any) -> Any:
        first = request.packets[0].packet.sequence
        self.begun.append(first)
        await passed(lambda: first not in self.held)
        if first in self.lost:
            self.lost.remove(first)
            raise failure(UnavailableError, "GM_TLS_LINK_BROKEN", chain="csrc")
        try:
            answer = await self.real.DeliverPackets(request, **options)
        except Exception as error:
            self.refused[first] = str(error)
            raise
        await passed(lambda: first not in self.held_home)
        return answer

    async def GetPacketReceipts(self, request: Any, **options: Any) -> Any:
        await passed(lambda: self.gives_receipts)
        return await self.real.GetPacketReceipts(request, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def passed(is_so: Callable[[], bool]) -> None:
    async def is_passed() -> bool:
        return is_so()

    await wait_until("what a test holds is let go", is_passed)


def way_of(relay: Relay) -> Way:
    way = Way(relay.gateway.stub)  # type: ignore[attr-defined]
    relay.gateway.stub = way  # type: ignore[attr-defined]
    return way


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(relay.run()) for relay in relays]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def report(link: LinkLab, count: int) -> None:
    """Packets that the market's gateway knows of."""
    link.report(count)
    await link.project_one(link.market)


async def until(what: str, is_so: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return is_so()

    await wait_until(what, holds)


async def all_are_recorded_once_and_in_order(link: LinkLab, count: int) -> None:
    """Then the acknowledgements come home as well."""
    assert link.recorded() == count
    assert arrivals(link) == list(range(1, count + 1))
    link.relay.gateway.stub.gives_receipts = True  # type: ignore[attr-defined]
    await link.deliver_and_acknowledge()
    assert await link.states() == [ACKNOWLEDGED] * count
    assert link.acknowledged() == count


def arrivals(link: LinkLab) -> list[int]:
    """The sequences as the regulatory chain took them for the first time."""
    return [
        int(event.body.split(b'"sequence":')[1].split(b",")[0].rstrip(b"}"))
        for _, block in sorted(link.regulator.node.chain.blocks.items())
        for receipt in block.receipts
        for event in receipt.events
        if event.topic == "packet.received"
    ]


@pytest.fixture
def submitted(link: LinkLab, monkeypatch: pytest.MonkeyPatch) -> list[Payload]:
    """What the regulator's gateway submits, in its order."""
    seen: list[Payload] = []
    real = link.regulator.runtime.client.submit

    async def submit(transaction: SignedTransaction, **options: Any) -> Any:
        seen.append(parse_payload(transaction.payload))
        return await real(transaction, **options)

    monkeypatch.setattr(link.regulator.runtime.client, "submit", submit)
    return seen


async def test_the_next_delivery_leaves_before_the_first_is_answered(link: LinkLab) -> None:
    way = way_of(link.relay)
    way.held_home = {1}
    await report(link, 3)
    async with running(link.relay):
        await until("the first is recorded", lambda: link.recorded() == 3)
        await report(link, 2)
        await until("the second too", lambda: link.recorded() == 5)
        await link.wait_states(lambda: [SENT] * 3 + [RECEIVED] * 2)
        way.held_home.clear()
        await link.wait_states(lambda: [RECEIVED] * 5)
    assert way.begun == [1, 4]


async def test_what_is_under_way_is_not_sent_again_however_often_it_is_looked(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries_module, "LOOK_SECONDS", 0.01)
    way = way_of(link.relay)
    looks, real = 0, link.relay._open

    async def look(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return await real(*arguments)

    monkeypatch.setattr(type(link.relay), "_open", lambda self, *arguments: look(*arguments))
    way.held = {1}
    await report(link, 3)
    async with running(link.relay):
        await until("it is looked again and again", lambda: looks > 10)
        way.held.clear()
        await link.wait_states(lambda: [RECEIVED] * 3)
    assert way.begun == [1]


async def test_the_chain_is_told_which_delivery_goes_before(
    link: LinkLab, submitted: list[Payload], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's header and packets, then the second one's, whichever the chain hears of
    first.
    """
    client = link.regulator.runtime.client
    real, let_go = client.submit, asyncio.Event()

    async def submit(transaction: SignedTransaction, **options: Any) -> Any:
        payload = parse_payload(transaction.payload)
        if payload.contract == "light_client" and payload.after is None:
            await let_go.wait()
        return await real(transaction, **options)

    monkeypatch.setattr(client, "submit", submit)
    await report(link, 2)
    async with running(link.relay):
        await until("the first packets are submitted", lambda: len(submitted) == 1)
        await report(link, 2)
        await until("the second ones too", lambda: len(submitted) == 3)
        let_go.set()
        await link.wait_states(lambda: [RECEIVED] * 4)
    by_method = [payload for payload in submitted if payload.contract == "packets"]
    assert len(by_method) == 2
    assert arrivals(link) == [1, 2, 3, 4]


async def test_a_delivery_that_is_lost_lets_the_next_one_wait_for_it(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused, being out of order, and nothing is undone for that."""
    monkeypatch.setattr(store, "mark_undelivered", never)
    way = way_of(link.relay)
    way.held, way.lost = {1}, {1}
    await report(link, 3)
    async with running(link.relay):
        await until("the first is under way", lambda: way.begun == [1])
        await report(link, 2)
        await until("the second is refused", lambda: 4 in way.refused)
        assert "PACKET_OUT_OF_ORDER" in way.refused[4] or "order" in way.refused[4]
        way.held.clear()
        await all_are_received(link, 5)
    await all_are_recorded_once_and_in_order(link, 5)


async def test_a_delivery_that_overtakes_the_one_before_it_undoes_nothing(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "mark_undelivered", never)
    way = way_of(link.relay)
    way.held = {1}
    await report(link, 3)
    async with running(link.relay):
        await until("the first is under way", lambda: way.begun == [1])
        await report(link, 2)
        await until("the second is refused", lambda: 4 in way.refused)
        assert link.recorded() == 0
        way.held.clear()
        await all_are_received(link, 5)
        await until("all gets on", lambda: link.relay.last_error == "")
    # The chain had followed to the second one's header by then, so the first is proven anew.
    assert way.begun == [1, 4, 1]
    await all_are_recorded_once_and_in_order(link, 5)


async def all_are_received(link: LinkLab, count: int) -> None:
    await link.wait_states(lambda: [RECEIVED] * count)


async def never(*_: object) -> None:
    raise AssertionError("nothing is to be undone")


async def test_what_is_truly_out_of_order_is_remedied_though_more_is_under_way(
    link: LinkLab,
) -> None:
    """The read model says of the first packets that they arrived, and they did not."""
    way = way_of(link.relay)
    way.held = {3}
    await report(link, 4)
    await link.market.pool.execute("UPDATE packets_sent SET state = 2 WHERE sequence < 3")
    async with running(link.relay):
        await until("the third is under way", lambda: way.begun == [3])
        await report(link, 2)
        await until("and what is behind it", lambda: 5 in way.refused)
        way.held.clear()
        await all_are_received(link, 6)
    await all_are_recorded_once_and_in_order(link, 6)


@pytest.mark.req("G2-20-1")
@pytest.mark.parametrize("is_recorded", [False, True])
async def test_a_relay_killed_with_deliveries_under_way_begins_again_with_one_effect(
    link: LinkLab, is_recorded: bool
) -> None:
    way = way_of(link.relay)
    way.held, way.held_home = (set(), {1, 4}) if is_recorded else ({1, 4}, set())
    await report(link, 3)
    async with running(link.relay):
        await until("the first is under way", lambda: way.begun == [1])
        await report(link, 2)
        await until("the second too", lambda: way.begun == [1, 4])
        await until("what is held home is recorded", lambda: link.recorded() == 5 * is_recorded)
    assert await link.states() == [SENT] * 5

    link.relay = link.another_relay()
    way_of(link.relay)
    async with running(link.relay):
        await all_are_received(link, 5)
    await all_are_recorded_once_and_in_order(link, 5)


@pytest.mark.req("G2-20-1")
async def test_a_gateway_killed_between_two_deliveries_takes_both_again(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The regulator's: what it had submitted of the first is final, of the second nothing is."""
    client = link.regulator.runtime.client
    real, made = client.submit, 0

    async def submit(transaction: SignedTransaction, **options: Any) -> Any:
        nonlocal made
        made += 1
        if made in (3, 4):
            raise failure(UnavailableError, "CHAIN_UNAVAILABLE", chain="csrc")
        return await real(transaction, **options)

    monkeypatch.setattr(client, "submit", submit)
    way = way_of(link.relay)
    way.held_home = {1}
    await report(link, 3)
    async with running(link.relay):
        await until("the first is recorded", lambda: link.recorded() == 3)
        await report(link, 2)
        await until("the second is refused", lambda: 4 in way.refused)
        way.held_home.clear()
        await all_are_received(link, 5)
    await all_are_recorded_once_and_in_order(link, 5)


@pytest.mark.req("G2-20-1")
async def test_two_relays_with_deliveries_under_way_have_one_effect(link: LinkLab) -> None:
    second = link.another_relay()
    async with link.at_work(), running(second):
        for _ in range(10):
            link.report(3)
            await asyncio.sleep(0)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 30)
    assert link.recorded() == 30
    assert link.acknowledged() == 30
    assert arrivals(link) == list(range(1, 31))


@pytest.mark.req("G2-16-4")
async def test_nothing_overtakes_a_packet_that_is_parked_while_more_is_under_way(
    link: LinkLab,
) -> None:
    """What the chain recorded under the first sequence is another packet."""
    await report(link, 1)
    await link.relay.deliver_some()
    await link.project()
    await link.market.pool.execute("UPDATE packets_sent SET state = 1, payload = '{}'")
    way = way_of(link.relay)
    way.held = {1}
    async with running(link.relay):
        await until("the first is under way", lambda: way.begun == [1])
        await report(link, 2)
        await until("and what is behind it is recorded", lambda: link.recorded() == 3)
        way.held.clear()

        async def is_parked() -> bool:
            return bool(
                await link.market.pool.fetchval("SELECT max(parked_cause) FROM packets_sent")
            )

        await wait_until("the first is parked", is_parked)
        link.report(2)
        await link.project_one(link.market)
        assert await link.relay.deliver_some() == 0, "nothing overtakes a parked packet"
    assert link.recorded() == 3


async def test_what_is_too_much_at_once_goes_in_less_while_more_is_under_way(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gateway_handlers.Handlers.deliver

    async def deliver(self: gateway_handlers.Handlers, header: Any, packets: Any) -> Any:
        if len(packets) > 2:
            raise TooLargeError("TRANSACTION_TOO_LARGE", bytes=len(packets), maximum=2)
        return await real(self, header, packets)

    monkeypatch.setattr(gateway_handlers.Handlers, "deliver", deliver)
    way_of(link.relay)
    link.relay._at_once["data_object"] = 8
    await report(link, 9)
    async with running(link.relay):
        await all_are_received(link, 9)
    await all_are_recorded_once_and_in_order(link, 9)


async def test_a_bug_in_one_delivery_ends_the_relay(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KilledError

    monkeypatch.setattr(store, "mark_received", broken)
    await report(link, 1)
    task = asyncio.ensure_future(link.relay.run())
    done, _ = await asyncio.wait([task], timeout=30)
    assert done, "it goes on as if nothing were"
    with pytest.raises(BaseExceptionGroup) as caught:
        task.result()
    assert caught.group_contains(KilledError)
