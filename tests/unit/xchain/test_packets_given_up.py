"""What was sent to a chain of which nothing can be proven ends all the same, and says so."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.chain_registry.standing import standing_key
from services.consensus.domain.contracts.packet_link.messages import DELIVERY, MESSAGE
from tests.unit.xchain.ledger_chain import events, sent_packets
from tests.unit.xchain.link_ports import acknowledge_body, tell, time_out_body
from tests.unit.xchain.message_chains import CSRC, Messages, states

SHANDONG, BEIJING = "shandong", "beijing"
GRACE_MS = 600_000


def stand(messages: Messages, status: str | None) -> None:
    """What the regulatory chain's register says of the other market."""
    key = f"chains/{standing_key(BEIJING)}".encode()
    values = messages[CSRC].state.values
    if status is None:
        del values[key]
    else:
        standing: Json = {"status": status, "scope": "PACKETS", "version": 1}
        values[key] = canonical_json(standing)


def relayed(messages: Messages) -> tuple[Packet, Packet]:
    """Both hops of a message that the regulatory chain took and sent on."""
    (first,) = sent_packets(messages.write(SHANDONG, BEIJING))
    (onward,) = messages.carry([first])
    assert messages.bring_home(first).accepted
    assert messages.sent(SHANDONG, CSRC, MESSAGE)["state"] == "RELAYED"
    return first, onward


def give_up(messages: Messages, packet: Packet, *, by_people: bool) -> Receipt:
    chain = messages[packet.source]
    body: dict[str, Json] = {
        "destination": packet.destination,
        "packets": [{"port": packet.port, "sequence": packet.sequence}],
        "reason": "对方链已退出",
    }
    if not by_people:
        return chain.call("packets", "give_up", body)
    signers = tuple(messages.people[packet.source])
    transaction = chain.transaction("packets", "give_up", body, signers=signers)
    return chain.execute(transaction).receipts[0]


def pass_time(messages: Messages, packet: Packet, beyond_ms: int) -> None:
    """On every chain: none is far ahead of another."""
    for chain in messages.chains.values():
        chain.execute(time_ms=packet.deadline.time_ms + beyond_ms)


@pytest.mark.req("N0-07", "T2-14")
@pytest.mark.parametrize("status", ["SUSPENDED", "DEREGISTERED"])
def test_a_message_to_a_chain_that_is_shut_out_ends_as_refused_at_its_sender(status: str) -> None:
    messages = Messages()
    _, onward = relayed(messages)
    stand(messages, status)
    pass_time(messages, onward, GRACE_MS - 30_000)
    assert give_up(messages, onward, by_people=False).code == "PACKET_NOT_EXPIRED"
    pass_time(messages, onward, GRACE_MS + 1)
    given_up = give_up(messages, onward, by_people=False)
    (event,) = events(given_up, "packet.timed_out")
    assert (event["code"], event["shown_by"]) == ("CHAIN_NOT_ADMITTED", "standing")
    (result,) = sent_packets(given_up)
    assert states(messages.deliver(result)) == ["REFUSED"]
    record = messages.sent(SHANDONG, CSRC, MESSAGE)
    assert (record["state"], record["code"]) == ("REFUSED", "CHAIN_NOT_ADMITTED")
    again = give_up(messages, onward, by_people=False)
    assert again.accepted
    assert again.events == ()


def test_a_relayer_gives_nothing_up_that_can_be_proven() -> None:
    messages = Messages()
    _, onward = relayed(messages)
    pass_time(messages, onward, GRACE_MS + 1)
    for status in (None, "ACTIVE", "STALE"):
        if status is not None:
            stand(messages, status)
        assert give_up(messages, onward, by_people=False).code == "ILLEGAL_TRANSITION"
    assert messages.sent(SHANDONG, CSRC, MESSAGE)["state"] == "RELAYED"


@pytest.mark.req("N0-07")
def test_two_who_answer_for_the_chain_give_up_what_nobody_ever_answers() -> None:
    """A market whose gateway fetches nothing is admitted, and nobody carries anything to it."""
    messages = Messages()
    _, onward = relayed(messages)
    assert give_up(messages, onward, by_people=True).code == "PACKET_NOT_EXPIRED"
    pass_time(messages, onward, GRACE_MS + 1)
    given_up = give_up(messages, onward, by_people=True)
    (event,) = events(given_up, "packet.timed_out")
    assert (event["code"], event["shown_by"]) == ("PACKET_GIVEN_UP", "decision")
    (result,) = sent_packets(given_up)
    assert messages.deliver(result).accepted
    record = messages.sent(SHANDONG, CSRC, MESSAGE)
    assert (record["state"], record["code"]) == ("REFUSED", "PACKET_GIVEN_UP")


def test_one_person_gives_nothing_up() -> None:
    messages = Messages()
    _, onward = relayed(messages)
    pass_time(messages, onward, GRACE_MS + 1)
    chain, one = messages[CSRC], messages.people[CSRC][:1]
    body: dict[str, Json] = {
        "destination": BEIJING,
        "packets": [{"port": DELIVERY, "sequence": 1}],
        "reason": "无应答",
    }
    transaction = chain.transaction("packets", "give_up", body, signers=tuple(one))
    assert chain.execute(transaction).receipts[0].code == "CHECKER_MISSING"


@pytest.mark.req("N0-07")
@pytest.mark.parametrize("proof", ["receipt", "absence"])
def test_what_the_chain_proves_after_all_changes_nothing(proof: str) -> None:
    """It is no contradiction either: nobody proved anything when the packet was given up."""
    messages = Messages()
    _, onward = relayed(messages)
    if proof == "receipt":
        assert messages.deliver(onward).accepted
    stand(messages, "SUSPENDED")
    pass_time(messages, onward, GRACE_MS + 1)
    assert give_up(messages, onward, by_people=False).accepted
    stand(messages, None)
    csrc, beijing = messages[CSRC], messages[BEIJING]
    height = tell(csrc, beijing)
    if proof == "receipt":
        late = csrc.call("packets", "acknowledge", acknowledge_body(beijing, [onward], height))
    else:
        late = csrc.call("packets", "time_out", time_out_body(csrc, beijing, [onward], height))
    assert late.accepted
    assert late.events == ()
    kept = csrc.value(f"packets/acknowledgement/{BEIJING}/{DELIVERY}/{1:020d}")
    assert kept is None


def test_what_is_acknowledged_is_not_given_up() -> None:
    messages = Messages()
    _, onward = relayed(messages)
    assert messages.deliver(onward).accepted
    assert messages.bring_home(onward).accepted
    pass_time(messages, onward, GRACE_MS + 1)
    assert give_up(messages, onward, by_people=True).code == "ILLEGAL_TRANSITION"
