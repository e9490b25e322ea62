"""A breaker that is open at a market holds the messages of its sender, and of no other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, PacketClass, Terms
from services.consensus.domain.contracts.packet_link import breaker, settling
from services.consensus.domain.contracts.packet_link.breaker import Limits
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.gateway import handlers as gateway_handlers
from services.gateway import held_senders
from tests.integration.gateway.senders import RECEIVED, SENT, pass_blocks, refusals
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.unit.xchain.ledger_chain import data_object

pytestmark = pytest.mark.req("G2-16-4", "N0-07")

FAR = Deadline(height=10**6)
BREAKER = b"packets/breaker/beijing/market_delivery"
SAID = f"deliver {DELIVERY} of beijing: "


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    """The market has taken too much of Beijing."""
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    monkeypatch.setattr(settling, "SENDERS", {})
    monkeypatch.setattr(breaker, "LIMITS", Limits(1, 1 << 30, 3_600_000))
    async with open_link(new_database, packets_version=3) as opened:
        send_on(opened, "beijing", 2)
        await opened.project()
        assert await opened.back.deliver_some() == 2
        assert BREAKER in opened.market.node.chain.state.values
        monkeypatch.setattr(breaker, "LIMITS", Limits(1000, 1 << 30, 3_600_000))
        yield opened


def send_on(link: LinkLab, sender: str, count: int) -> None:
    """The regulatory chain sends on what came from another market."""
    entries: list[Json] = [
        {
            "destination": "shandong",
            "port": DELIVERY,
            "payload": {
                "from": {"chain": sender, "height": 1, "sequence": number + 1},
                "object": data_object(f"{sender}:subject:" + "0" * 64),
            },
            **Terms(PacketClass.UNORDERED, FAR).to_json(),
        }
        for number in range(count)
    ]
    receipt = link.regulator.node.chain.call("reports", "send", {"packets": entries})
    assert receipt.accepted, receipt


async def states_of(link: LinkLab, sender: str) -> list[int]:
    rows = await link.regulator.rows("packets_sent", "sequence")
    mark = f'{{"from":{{"chain":"{sender}"'.encode()
    return [row["state"] for row in rows if row["payload"].startswith(mark)]


async def test_others_are_delivered_past_more_than_a_page_of_the_held_senders(
    link: LinkLab,
) -> None:
    send_on(link, "beijing", 60)
    await link.project()
    send_on(link, "tianjin", 3)
    await link.project()
    carried = 0
    for _ in range(2):  # The first page is Beijing's alone, and is left out whole.
        carried += await link.back.deliver_some()
    assert carried == 3
    assert await states_of(link, "tianjin") == [RECEIVED] * 3
    assert await states_of(link, "beijing") == [RECEIVED] * 2 + [SENT] * 60
    assert SAID in link.back.last_error
    alarms = link.regulator.runtime.telemetry.metrics.render().decode()
    assert 'guqiao_gateway_alarms_total{code="BREAKER_OPEN",remote="shandong"} 1.0' in alarms
    send_on(link, "tianjin", 2)
    await link.project()
    assert await link.back.deliver_some() == 2
    assert refusals(link.market).count("BREAKER_OPEN") == 1, "not tried with every delivery"


async def test_in_one_delivery_with_a_held_sender_the_others_go_at_once(link: LinkLab) -> None:
    for sender in ("tianjin", "beijing", "tianjin"):
        send_on(link, sender, 1)
    await link.project()
    assert await link.back.deliver_some() == 2
    assert await states_of(link, "tianjin") == [RECEIVED] * 2
    assert await states_of(link, "beijing") == [RECEIVED, RECEIVED, SENT]


async def test_what_was_held_goes_when_people_have_closed_the_breaker(link: LinkLab) -> None:
    send_on(link, "beijing", 1)
    await link.project()
    assert await link.back.deliver_some() == 0
    now_ms = link.back.now_ms()
    link.back._held.now_ms = lambda: now_ms + held_senders.HOLD_MS + 1_000_000
    assert await link.back.deliver_some() == 0, "it is tried again, and refused again"
    assert SAID in link.back.last_error
    del link.market.node.chain.state.values[BREAKER]
    pass_blocks(link.market, 1)
    link.back._held.now_ms = lambda: now_ms + 2 * held_senders.HOLD_MS + 2_000_000
    assert await link.back.deliver_some() == 1
    assert await states_of(link, "beijing") == [RECEIVED] * 3
    assert SAID not in link.back.last_error
