"""What a message may hold, how far off its end may be, and whose volume it counts to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import DELIVERY_PORT, Packet, sender_of
from services.consensus.domain.contracts.packet_link import breaker
from services.consensus.domain.contracts.packet_link.breaker import Limits
from services.consensus.domain.contracts.packet_link.messages import DELIVERY, MESSAGE
from tests.unit.xchain.ledger_chain import events, sent_packets
from tests.unit.xchain.link_ports import tell
from tests.unit.xchain.message_chains import CSRC, Messages

SHANDONG, BEIJING = "shandong", "beijing"
NUMBER = "11010519491231002X"
YEAR_ENDS = int(datetime(2026, 11, 30, 9, tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.req("G2-16-4", "N0-07")
def test_g40_a_market_counts_each_sender_of_messages_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one market sends too much of does not keep the regulatory chain's own from arriving."""
    link = Messages()
    for _ in range(3):
        (onward,) = link.carry(sent_packets(link.write(SHANDONG, BEIJING)))
        monkeypatch.setattr(breaker, "LIMITS", Limits(2, 1 << 30, 3_600_000))
        receipt = link.deliver(onward)
        monkeypatch.setattr(breaker, "LIMITS", Limits(500, 1 << 30, 3_600_000))
        assert receipt.accepted
    (opened,) = events(receipt, "packet.breaker_opened")
    assert (opened["source"], opened["port"], opened["packets"]) == (SHANDONG, DELIVERY, 3)
    own = sent_packets(link.write(CSRC, BEIJING))
    assert link.deliver(own[0]).accepted
    (refused,) = link.carry(sent_packets(link.write(SHANDONG, BEIJING)))
    assert link.deliver(refused).code == "BREAKER_OPEN"
    body: dict[str, Json] = {"source": SHANDONG, "port": DELIVERY, "reason": "已核实"}
    beijing = link[BEIJING]
    signers = tuple(link.people[BEIJING])
    closing = beijing.transaction("packets", "close_breaker", body, signers=signers)
    assert beijing.execute(closing).receipts[0].accepted
    assert link.deliver(refused).accepted


@pytest.mark.parametrize(
    ("port", "payload", "sender"),
    [
        (DELIVERY_PORT, {"from": {"chain": "beijing", "height": 1, "sequence": 1}}, "beijing"),
        (DELIVERY_PORT, {"from": {"chain": "csrc"}, "object": {}}, "csrc"),
        (DELIVERY_PORT, {"from": {"chain": "x" * 65}}, "csrc"),
        (DELIVERY_PORT, {"from": {"chain": "a/b"}}, "csrc"),
        (DELIVERY_PORT, {"from": {"chain": 7}}, "csrc"),
        (DELIVERY_PORT, {"a": {"from": {"chain": "beijing"}}}, "csrc"),
        ("market_result", {"from": {"chain": "beijing"}}, "csrc"),
    ],
)
def test_whose_packet_it_is_stands_at_the_beginning_of_a_delivery(
    port: str, payload: Json, sender: str
) -> None:
    assert sender_of(Packet("csrc", "shandong", port, 1, canonical_json(payload))) == sender


@pytest.mark.req("N0-07")
def test_a_height_that_the_destination_has_reached_is_no_deadline() -> None:
    link = Messages()
    height = tell(link[SHANDONG], link[CSRC])
    refused = link.write(SHANDONG, CSRC, deadline={"height": height})
    assert (refused.code, b"deadline.height" in refused.detail) == ("BODY_MALFORMED", True)
    assert link.write(SHANDONG, CSRC, deadline={"height": height + 1}).accepted


@pytest.mark.req("G2-14-3")
def test_the_operator_of_a_market_extends_its_calendar_by_the_next_year() -> None:
    link = Messages()
    chain, people = link[SHANDONG], tuple(link.people[SHANDONG])
    chain.execute(time_ms=YEAR_ENDS)
    deadline: Json = {"working_days": 60}
    assert link.write(SHANDONG, CSRC, deadline=deadline).code == "CALENDAR_YEAR_UNKNOWN"
    notice = ["国办发明电〔2026〕1号"]
    body: dict[str, Json] = {"year": 2027, "notices": [*notice], "off": [], "worked": []}
    alone = chain.transaction("calendar", "publish", body, signers=people[:1])
    assert chain.execute(alone).receipts[0].code == "CHECKER_MISSING"
    both = chain.transaction("calendar", "publish", body, signers=people)
    assert chain.execute(both).receipts[0].accepted
    assert link.write(SHANDONG, CSRC, deadline=deadline).accepted


@pytest.mark.req("G2-17-1")
@pytest.mark.parametrize("member", ["remark", "metadata"])
def test_g33_a_number_of_a_person_is_found_in_what_the_sender_words_of_the_header(
    member: str,
) -> None:
    """No honest contract writes it there: another chain proves that it sent it."""
    link = Messages()
    (packet,) = sent_packets(link.write(SHANDONG, BEIJING))
    assert packet.port == MESSAGE
    payload: Any = json.loads(packet.payload)
    words = {"remark": f"身份证 {NUMBER}", "metadata": {"note": NUMBER}}
    payload["object"]["header"][member] = words[member]
    forged = link.forge(SHANDONG, CSRC, MESSAGE, payload, packet.deadline)
    assert link.carry([forged]) == []
    assert link.acknowledgement(forged)["code"] == "TIER_NONPUBLIC_ONCHAIN"
    assert not [value for value in link[CSRC].state.values.values() if NUMBER.encode() in value]
