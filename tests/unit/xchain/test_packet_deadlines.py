"""Classes and deadlines of packets, and their time-outs by proof of absence."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Deadline, PacketClass, receipt_key
from services.consensus.domain.ledger.state_tree import apply, changes_of
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    make_pair,
    receive_body,
    sent_packets,
)
from tests.unit.xchain.link_ports import (
    ORDERED,
    UNORDERED,
    acknowledge_body,
    codes,
    count,
    counting_ports,
    deliver,
    linked_pair,
    send,
    tell,
    time_out_body,
)

pytestmark = pytest.mark.usefixtures(counting_ports.__name__)


def entry(body: dict[str, Json], index: int = 0) -> dict[str, Json]:
    entries = body["packets"]
    assert isinstance(entries, list)
    found = entries[index]
    assert isinstance(found, dict)
    return found


def pass_blocks(chain: LedgerChain, number: int) -> None:
    for _ in range(number):
        chain.execute()


# --- At the destination -----------------------------------------------------------------------


@pytest.mark.req("N0-07")
def test_g25_unordered_packets_are_taken_in_any_order_each_once() -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(), Deadline(), Deadline())
    tell(csrc, market)
    assert deliver(market, csrc, [sent[2], sent[0]]).accepted
    again = deliver(market, csrc, sent)
    assert [body["sequence"] for body in events(again, "packet.received")] == [2]
    assert [body["sequence"] for body in events(again, "packet.received_again")] == [1, 3]
    assert [count(csrc, "effect", packet) for packet in sent] == [1, 1, 1]


def test_g25_a_gap_in_an_ordered_port_is_refused_in_format_2_as_well() -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(), Deadline(), packet_class=ORDERED)
    tell(csrc, market)
    assert deliver(market, csrc, [sent[1]]).code == "PACKET_OUT_OF_ORDER"
    assert deliver(market, csrc, sent).accepted


@pytest.mark.parametrize("packet_class", [ORDERED, UNORDERED])
def test_g24_other_terms_under_a_received_sequence_are_a_conflict(
    packet_class: PacketClass,
) -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(height=9), packet_class=packet_class)
    tell(csrc, market)
    body = receive_body(market, sent)
    assert csrc.call("packets", "receive", body).accepted
    entry(body)["deadline"] = {"height": 10, "time_ms": 0}
    assert csrc.call("packets", "receive", body).code == "PACKET_CONFLICT"


@pytest.mark.parametrize(
    "change",
    [
        {"deadline": {"height": 99, "time_ms": 0}},
        {"deadline": {"height": 0, "time_ms": 0}},
        {"payload": '"乙"'},
    ],
)
def test_g19_a_proof_holds_for_its_own_deadline_and_payload_only(change: dict[str, Json]) -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(height=9))
    tell(csrc, market)
    body = receive_body(market, sent)
    entry(body).update(change)
    assert csrc.call("packets", "receive", body).code == "PROOF_INVALID"
    assert count(csrc, "effect", sent[0]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"class": "sorted"},
        {"class": 1},
        {"deadline": 9},
        {"deadline": {"height": 9}},
        {"deadline": {"height": 9, "time_ms": -1}},
        {"deadline": {"height": True, "time_ms": 0}},
        {"deadline": {"height": 9, "time_ms": 1 << 53}},
        {"deadline": {"height": 9, "time_ms": 0, "days": 1}},
        {"terms": None},
    ],
)
def test_terms_of_another_form_are_refused(change: dict[str, Json]) -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(height=9))
    tell(csrc, market)
    body = receive_body(market, sent)
    entry(body).update(change)
    assert csrc.call("packets", "receive", body).code == "BODY_MALFORMED"


@pytest.mark.parametrize("name", ["class", "deadline"])
def test_half_of_the_terms_is_refused(name: str) -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(height=9))
    tell(csrc, market)
    body = receive_body(market, sent)
    del entry(body)[name]
    assert csrc.call("packets", "receive", body).code == "BODY_MALFORMED"


def test_a_packet_of_the_other_class_than_its_port_is_refused() -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(height=9))
    tell(csrc, market)
    body = receive_body(market, sent)
    entry(body)["class"] = "ordered"
    assert csrc.call("packets", "receive", body).code == "PACKET_CLASS_WRONG"
    del entry(body)["class"], entry(body)["deadline"]
    assert csrc.call("packets", "receive", body).code == "PACKET_CLASS_WRONG"


@pytest.mark.parametrize(("late", "code"), [(0, ""), (1, "PACKET_EXPIRED")])
def test_g27_an_unordered_packet_has_its_effect_up_to_its_height_and_not_behind(
    late: int, code: str
) -> None:
    market, csrc = linked_pair()
    (packet,) = send(market, csrc, Deadline(height=5))
    tell(csrc, market)
    pass_blocks(csrc, 3 + late)
    receipt = deliver(market, csrc, [packet])
    assert (csrc.header.height, receipt.code) == (5 + late, code)
    assert count(csrc, "effect", packet) == 1 - late
    key = receipt_key("shandong", packet.port, 1)
    assert (csrc.value(key) is None) == bool(late), "what is refused leaves no receipt"


@pytest.mark.parametrize(("late_ms", "code"), [(0, ""), (1, "PACKET_EXPIRED")])
def test_g27_an_unordered_packet_has_its_effect_up_to_its_block_time_and_not_behind(
    late_ms: int, code: str
) -> None:
    market, csrc = linked_pair()
    time_ms = csrc.header.block_time_ms + 7_000
    (packet,) = send(market, csrc, Deadline(time_ms=time_ms))
    tell(csrc, market)
    transaction = csrc.transaction("packets", "receive", receive_body(market, [packet]))
    (receipt,) = csrc.execute(transaction, time_ms=time_ms + late_ms).receipts
    assert receipt.code == code
    assert count(csrc, "effect", packet) == 1 - late_ms


@pytest.mark.req("N0-07")
def test_an_ordered_packet_that_expired_is_answered_without_effect_and_the_next_goes_on() -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, Deadline(height=2), Deadline(height=99), packet_class=ORDERED)
    tell(csrc, market)
    pass_blocks(csrc, 3)
    receipt = deliver(market, csrc, sent)
    assert codes(receipt, "packet.received") == ["PACKET_EXPIRED", ""]
    assert [count(csrc, "effect", packet) for packet in sent] == [0, 1]
    again = deliver(market, csrc, sent)
    assert codes(again, "packet.received_again") == ["PACKET_EXPIRED", ""]


def test_packets_of_format_1_go_on_beside_those_of_format_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a register sends is the same packet, byte for byte, whichever version runs."""
    monkeypatch.undo()  # The chain's own ports.
    market, csrc = linked_pair()
    sent = sent_packets(market.call("reports", "report", {"count": 2, "broken": False}))
    assert [packet.terms for packet in sent] == [None, None]
    tell(csrc, market)
    receipt = deliver(market, csrc, sent)
    assert codes(receipt, "packet.received") == ["", ""]
    assert len(events(receipt, "object.recorded")) == 2


# --- At the source ----------------------------------------------------------------------------


@pytest.mark.req("G2-16-1")
def test_a_packet_that_was_not_received_in_time_times_out_once_by_proof_of_absence() -> None:
    market, csrc = linked_pair()
    (packet,) = send(market, csrc, Deadline(height=2))
    pass_blocks(csrc, 2)
    height = tell(market, csrc)
    body = time_out_body(market, csrc, [packet], height)
    receipt = market.call("packets", "time_out", body)
    (event,) = events(receipt, "packet.timed_out")
    assert event == {
        "destination": "csrc",
        "port": packet.port,
        "sequence": 1,
        "code": "PACKET_EXPIRED",
        "destination_height": 2,
        "shown_by": "absence",
    }
    again = market.call("packets", "time_out", body)
    assert again.accepted
    assert again.events == ()
    assert count(market, "heard/timed_out", packet) == 1


@pytest.mark.parametrize(
    ("deadline", "height", "code"),
    [
        (Deadline(height=3), 2, "PACKET_NOT_EXPIRED"),
        (Deadline(height=3), 3, ""),
        (Deadline(time_ms=3), 3, "PACKET_NOT_EXPIRED"),
        (Deadline(time_ms=3), 4, ""),
        (Deadline(height=9, time_ms=3), 4, ""),
        (Deadline(height=3, time_ms=9), 3, ""),
        (Deadline(height=9, time_ms=9), 4, "PACKET_NOT_EXPIRED"),
        (Deadline(), 4, "PACKET_DEADLINE_NONE"),
    ],
)
def test_g27_a_time_out_needs_a_height_behind_which_no_block_may_take_the_packet(
    deadline: Deadline, height: int, code: str
) -> None:
    """Block times here are those of the heights: one second a block, from genesis on."""
    market, csrc = linked_pair()
    start = csrc.header.block_time_ms
    time_ms = start + 1_000 * deadline.time_ms if deadline.time_ms else 0
    (packet,) = send(market, csrc, Deadline(deadline.height, time_ms))
    pass_blocks(csrc, height)
    tell(market, csrc)
    body = time_out_body(market, csrc, [packet], height)
    assert market.call("packets", "time_out", body).code == code


def test_a_block_of_the_same_time_as_the_deadline_can_be_followed_by_another() -> None:
    """Why a time-out by time needs a later time: block time may stand still."""
    deadline = Deadline(time_ms=5)
    assert not deadline.has_passed(1, 5)
    assert not deadline.excludes_later(1, 5)
    assert deadline.excludes_later(1, 6)


@pytest.mark.parametrize("lie", ["received", "other packet", "other height", "no proof"])
def test_g21_a_forged_absence_times_nothing_out(lie: str) -> None:
    market, csrc = linked_pair()
    first, second = send(market, csrc, Deadline(height=4), Deadline(height=4))
    tell(csrc, market)
    assert deliver(market, csrc, [first]).accepted
    pass_blocks(csrc, 3)
    height = tell(market, csrc)
    body = time_out_body(market, csrc, [first], height)
    proof = entry(time_out_body(market, csrc, [second], height))["proof"]
    match lie:
        case "other packet":
            entry(body)["proof"] = proof
        case "other height":
            entry(body)["proof"] = entry(time_out_body(market, csrc, [first], 1))["proof"]
        case "no proof":
            entry(body)["proof"] = "0000000000"
    assert market.call("packets", "time_out", body).code == "PROOF_INVALID"
    assert count(market, "heard/timed_out", first) == 0
    true = time_out_body(market, csrc, [second], height)
    assert market.call("packets", "time_out", true).accepted


def test_g27_what_timed_out_is_not_acknowledged_and_what_is_acknowledged_does_not_time_out() -> (
    None
):
    market, csrc = linked_pair()
    late, taken = send(market, csrc, Deadline(height=3), Deadline(height=3))
    tell(csrc, market)
    assert deliver(market, csrc, [taken]).accepted
    pass_blocks(csrc, 2)
    height = tell(market, csrc)
    gone = time_out_body(market, csrc, [late], height)
    home = acknowledge_body(csrc, [taken], height)
    assert market.call("packets", "time_out", gone).accepted
    assert market.call("packets", "acknowledge", home).accepted
    both = time_out_body(market, csrc, [taken], height)
    assert market.call("packets", "time_out", both).code == "PROOF_INVALID"
    claimed = acknowledge_body(csrc, [late], height)
    assert market.call("packets", "acknowledge", claimed).code == "PROOF_INVALID"
    assert count(market, "heard/timed_out", taken) == 0
    assert count(market, "heard/acknowledged", late) == 0


def test_a_destination_that_proves_both_ends_contradicts_itself() -> None:
    """Its own quorum certified a state without the receipt, and later one with it."""
    market, csrc = linked_pair()
    (packet,) = send(market, csrc, Deadline(height=2))
    tell(csrc, market)
    pass_blocks(csrc, 1)
    early = tell(market, csrc)
    gone = time_out_body(market, csrc, [packet], early)
    assert market.call("packets", "time_out", gone).accepted
    key = receipt_key("shandong", packet.port, 1)
    receipt: dict[str, Json] = {
        "commitment": packet.commitment().hex(),
        "acknowledgement": {"code": ""},
    }
    rewrite(csrc, key, receipt)
    height = tell(market, csrc)
    home = acknowledge_body(csrc, [packet], height, {1: {"code": ""}})
    assert market.call("packets", "acknowledge", home).code == "PACKET_CONFLICT"
    assert count(market, "heard/acknowledged", packet) == 0


def rewrite(chain: LedgerChain, key: str, value: Json) -> None:
    """A dishonest chain's next block holds `value` under `key`, though no transaction wrote it."""
    encoded = canonical_json(value)
    chain.state.values[key.encode()] = encoded
    height = chain.header.height
    update = apply(
        chain.pages.__getitem__,
        chain.versions[height],
        changes_of({key.encode(): encoded}),
        height + 1_000,
    )
    chain.pages.update(update.pages)
    chain.versions[height] = update.version
    chain.call("reports", "report", {"count": 0, "broken": False})


@pytest.mark.req("N0-07")
def test_an_acknowledgement_of_expiry_ends_a_packet_as_a_time_out_does() -> None:
    market, csrc = linked_pair()
    (packet,) = send(market, csrc, Deadline(height=2), packet_class=ORDERED)
    tell(csrc, market)
    pass_blocks(csrc, 2)
    assert codes(deliver(market, csrc, [packet]), "packet.received") == ["PACKET_EXPIRED"]
    height = tell(market, csrc)
    home = acknowledge_body(csrc, [packet], height)
    receipt = market.call("packets", "acknowledge", home)
    (event,) = events(receipt, "packet.timed_out")
    assert event["shown_by"] == "receipt"
    assert events(receipt, "packet.acknowledged") == []
    assert market.call("packets", "acknowledge", home).events == ()
    assert count(market, "heard/timed_out", packet) == 1
    assert count(market, "heard/acknowledged", packet) == 0


def test_a_channel_in_order_goes_on_after_its_source_timed_a_packet_out() -> None:
    """The commitment stays, so that the destination can be shown what it passes over."""
    market, csrc = linked_pair()
    first, second = send(
        market, csrc, Deadline(height=2), Deadline(height=99), packet_class=ORDERED
    )
    pass_blocks(csrc, 2)
    height = tell(market, csrc)
    gone = time_out_body(market, csrc, [first], height)
    assert market.call("packets", "time_out", gone).accepted
    tell(csrc, market)
    receipt = deliver(market, csrc, [first, second])
    assert codes(receipt, "packet.received") == ["PACKET_EXPIRED", ""]
    height = tell(market, csrc)
    home = acknowledge_body(csrc, [first, second], height)
    receipt = market.call("packets", "acknowledge", home)
    assert receipt.accepted
    assert [body["sequence"] for body in events(receipt, "packet.acknowledged")] == [2]
    assert count(market, "heard/timed_out", first) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"destination": "beijing"}, "CLIENT_UNKNOWN"),
        ({"height": 99}, "HEIGHT_UNKNOWN"),
        ({"height": 0}, "BODY_MALFORMED"),
        ({"packets": [{}]}, "BODY_MALFORMED"),
        ({"source": "csrc"}, "BODY_MALFORMED"),
    ],
)
def test_g39_a_time_out_that_names_no_known_chain_or_height_is_refused(
    change: dict[str, Json], code: str
) -> None:
    market, csrc = linked_pair()
    (packet,) = send(market, csrc, Deadline(height=2))
    pass_blocks(csrc, 2)
    height = tell(market, csrc)
    body = time_out_body(market, csrc, [packet], height)
    assert market.call("packets", "time_out", body | change).code == code
    entry(body)["sequence"] = 2
    assert market.call("packets", "time_out", body).code == "PACKET_UNKNOWN"


def test_g40_more_than_fifty_time_outs_in_one_transaction_are_refused() -> None:
    market, csrc = linked_pair()
    sent = send(market, csrc, *[Deadline(height=2)] * 51)
    pass_blocks(csrc, 2)
    height = tell(market, csrc)
    body = time_out_body(market, csrc, sent, height)
    assert market.call("packets", "time_out", body).code == "BODY_MALFORMED"
    body = time_out_body(market, csrc, sent[:50], height)
    assert market.call("packets", "time_out", body).accepted


def test_version_1_knows_no_time_out() -> None:
    (_, csrc), (_, old) = linked_pair(), make_pair(FakeKeys())
    assert old.call("packets", "time_out", {}).code == "METHOD_UNKNOWN"
    assert csrc.call("packets", "time_out", {}).code == "BODY_MALFORMED"
