"""Packets: proven, in order, once in effect; what a relayer or a source may try and not get."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, receipt_key
from guqiao_sdk.proof.packet_events import event_body
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts import objects, packets
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.contracts.packets_host import SystemHost
from services.consensus.domain.ledger.state_tree import apply, changes_of
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    make_pair,
    receive_body,
    sent_packets,
    update_body,
)

Journey = tuple[LedgerChain, LedgerChain, list[Packet]]


def journey(count: int = 3, *, broken: bool = False) -> Journey:
    """A market chain that sent `count` packets, and a regulatory chain that knows its header."""
    shandong, csrc = make_pair(FakeKeys())
    sent = shandong.call("reports", "report", {"count": count, "broken": broken})
    assert csrc.call("light_client", "update", update_body(shandong)).accepted
    return shandong, csrc, sent_packets(sent)


def receive(csrc: LedgerChain, body: dict[str, Json]) -> Receipt:
    return csrc.call("packets", "receive", body)


def entry(body: dict[str, Json], index: int = 0) -> dict[str, Json]:
    entries = body["packets"]
    assert isinstance(entries, list)
    found = entries[index]
    assert isinstance(found, dict)
    return found


def packet_state(csrc: LedgerChain) -> dict[bytes, bytes]:
    """What packets and objects have left in the state."""
    prefixes = (b"packets/re", b"objects/shandong", b"objects/exception")
    return {key: value for key, value in csrc.state.values.items() if key.startswith(prefixes)}


def acknowledgement_of(receipt: Receipt) -> dict[str, Json]:
    (event,) = events(receipt, "packet.received")
    acknowledgement = event["acknowledgement"]
    assert isinstance(acknowledgement, dict)
    return acknowledgement


@pytest.mark.req("N0-07")
def test_packets_in_order_are_received_and_each_has_its_receipt() -> None:
    shandong, csrc, sent = journey(3)
    receipt = receive(csrc, receive_body(shandong, sent))
    assert receipt.accepted
    assert [body["sequence"] for body in events(receipt, "packet.received")] == [1, 2, 3]
    for packet in sent:
        stored = csrc.value(receipt_key("shandong", "data_object", packet.sequence))
        assert isinstance(stored, dict)
        assert stored["commitment"] == packet.commitment().hex()


@pytest.mark.req("N0-07")
def test_g23_the_same_packet_again_has_the_same_receipt_and_no_second_effect() -> None:
    shandong, csrc, sent = journey(1)
    body = receive_body(shandong, sent)
    first = receive(csrc, body)
    before = packet_state(csrc)
    again = receive(csrc, body)
    assert again.accepted
    assert packet_state(csrc) == before
    (event,) = events(again, "packet.received_again")
    assert event["acknowledgement"] == acknowledgement_of(first)
    assert events(again, "object.recorded") == []


def test_g24_another_packet_under_a_received_sequence_is_a_conflict() -> None:
    shandong, csrc, sent = journey(1)
    body = receive_body(shandong, sent)
    assert receive(csrc, body).accepted
    before = packet_state(csrc)
    entry(body)["payload"] = '{"header":{},"body":{}}'
    receipt = receive(csrc, body)
    assert receipt.code == "PACKET_CONFLICT"
    facts = json.loads(receipt.detail)
    assert facts["proven"] is False
    assert facts["sequence"] == 1
    assert packet_state(csrc) == before


def test_g24_a_conflict_that_the_sources_own_state_proves_is_said_to_be_proven() -> None:
    shandong, csrc, sent = journey(1)
    assert receive(csrc, receive_body(shandong, sent)).accepted
    other = Packet("shandong", "csrc", "data_object", 1, b"{}")
    key = f"packets/commitment/csrc/data_object/{1:020d}".encode()
    shandong.state.values[key] = json.dumps(other.commitment().hex()).encode()
    rewound = make_rewritten(shandong, key)
    assert csrc.call("light_client", "update", update_body(rewound)).accepted
    receipt = receive(csrc, receive_body(rewound, [other]))
    assert receipt.code == "PACKET_CONFLICT"
    assert json.loads(receipt.detail)["proven"] is True


def make_rewritten(chain: LedgerChain, key: bytes) -> LedgerChain:
    """Let the chain's next block carry a changed value under `key`, as a dishonest source would."""
    height = chain.header.height
    update = apply(
        chain.pages.__getitem__,
        chain.versions[height],
        changes_of({key: chain.state.values[key]}),
        height + 1_000,
    )
    chain.pages.update(update.pages)
    chain.versions[height] = update.version
    chain.call("reports", "report", {"count": 0, "broken": False})
    return chain


@pytest.mark.parametrize("indexes", [[1], [0, 2], [1, 0]])
def test_g25_a_gap_or_a_reorder_refuses_the_whole_transaction(indexes: list[int]) -> None:
    shandong, csrc, sent = journey(3)
    receipt = receive(csrc, receive_body(shandong, [sent[index] for index in indexes]))
    assert receipt.code == "PACKET_OUT_OF_ORDER"
    assert packet_state(csrc) == {}


def test_g26_a_packet_to_another_chain_is_refused() -> None:
    shandong, csrc, sent = journey(1)
    body = receive_body(shandong, sent)
    entry(body)["destination"] = "beijing"
    assert receive(csrc, body).code == "CHAIN_MISMATCH"
    assert packet_state(csrc) == {}


@pytest.mark.parametrize("port", ["identity", "governance", "light_client", "objects"])
def test_g28_a_port_off_the_allow_list_is_refused(port: str) -> None:
    shandong, csrc, sent = journey(1)
    body = receive_body(shandong, sent)
    entry(body)["port"] = port
    assert receive(csrc, body).code == "PACKET_PORT_FORBIDDEN"
    assert packet_state(csrc) == {}


def test_g28_no_transaction_reaches_the_objects_but_through_a_packet() -> None:
    _, csrc, _ = journey(1)
    assert csrc.call("objects", "record_object", {}).code == "METHOD_UNKNOWN"


@pytest.mark.parametrize("change", ["payload", "sequence", "proof of another packet", "no proof"])
def test_g19_a_proof_holds_for_its_own_key_and_payload_only(change: str) -> None:
    shandong, csrc, sent = journey(2)
    body = receive_body(shandong, sent)
    match change:
        case "payload":
            entry(body)["payload"] = str(entry(body)["payload"]).replace("企业甲", "企业乙")
        case "sequence":
            entry(body, 0)["payload"] = entry(body, 1)["payload"]
        case "proof of another packet":
            entry(body, 0)["proof"] = entry(body, 1)["proof"]
        case "no proof":
            entry(body)["proof"] = "0000000000"
    assert receive(csrc, body).code == "PROOF_INVALID"
    assert packet_state(csrc) == {}


@pytest.mark.parametrize("tail", ["00", "ff" * 32])
def test_g17_bytes_after_a_proof_are_refused(tail: str) -> None:
    shandong, csrc, sent = journey(1)
    body = receive_body(shandong, sent)
    entry(body)["proof"] = f"{entry(body)['proof']}{tail}"
    assert receive(csrc, body).code == "PROOF_INVALID"


def test_g13_g15_a_proof_against_another_or_an_unknown_height_is_refused() -> None:
    shandong, csrc, _ = journey(1)
    later = shandong.call("reports", "report", {"count": 1, "broken": False})
    body = receive_body(shandong, sent_packets(later))
    assert receive(csrc, body).code == "HEIGHT_UNKNOWN"
    entry(body)["sequence"] = 1
    assert receive(csrc, {**body, "height": 1}).code == "PROOF_INVALID"


@pytest.mark.req("G2-19-4")
def test_g30_g31_an_object_that_names_another_source_gets_an_error_acknowledgement() -> None:
    shandong, csrc, sent = journey(1, broken=True)
    receipt = receive(csrc, receive_body(shandong, sent))
    assert receipt.accepted
    acknowledgement = acknowledgement_of(receipt)
    assert acknowledgement["code"] == "SOURCE_MISSING"
    assert acknowledgement["object_id"] is None
    assert events(receipt, "object.recorded") == []
    (refused,) = events(receipt, "object.refused")
    assert refused["code"] == "SOURCE_MISSING"
    exception = csrc.value(f"objects/exception/shandong/data_object/{1:020d}")
    assert isinstance(exception, dict)
    assert exception["commitment"] == sent[0].commitment().hex()


def test_g30_a_failing_handler_leaves_no_effect_but_the_acknowledgement_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_second(host: SystemHost, packet: Packet, height: int) -> dict[str, Json]:
        acknowledgement = objects.record_object(host, packet, height)
        if packet.sequence == 2:
            raise Refusal("SCHEMA_FAILED", field="late")
        return acknowledgement

    port = packets.Port(objects.NAME, fail_second, objects.record_exception)
    monkeypatch.setattr(packets, "PORTS", {"data_object": port})
    shandong, csrc, sent = journey(3)
    receipt = receive(csrc, receive_body(shandong, sent))
    recorded = [body["sequence"] for body in events(receipt, "object.recorded")]
    assert recorded == [1, 3]
    codes = []
    for body in events(receipt, "packet.received"):
        acknowledgement = body["acknowledgement"]
        assert isinstance(acknowledgement, dict)
        codes.append(acknowledgement["code"])
    assert codes == ["", "SCHEMA_FAILED", ""]
    kept = {key.rsplit(b"/", 2)[1] for key in csrc.state.values if key.endswith(b"/latest")}
    assert len(kept) == 2


def test_a_limit_of_the_transaction_refuses_it_whole_and_blames_no_packet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hit_limit(host: Host, packet: Packet, height: int) -> dict[str, Json]:
        raise Refusal("LIMIT_EXCEEDED", limit="output_bytes", maximum=1)

    port = packets.Port(objects.NAME, hit_limit, objects.record_exception)
    monkeypatch.setattr(packets, "PORTS", {"data_object": port})
    shandong, csrc, sent = journey(1)
    assert receive(csrc, receive_body(shandong, sent)).code == "LIMIT_EXCEEDED"
    assert packet_state(csrc) == {}


def test_g29_the_sequence_is_taken_before_the_handler_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that would come back to the same packet finds its sequence taken."""
    seen: list[object] = []

    def look(host: Host, packet: Packet, height: int) -> dict[str, Json]:
        seen.append(csrc_host_read(host))
        return {"code": ""}

    def csrc_host_read(host: Host) -> object:
        return host.read("packets", "received/shandong/data_object")  # type: ignore[attr-defined]

    port = packets.Port(objects.NAME, look, objects.record_exception)
    monkeypatch.setattr(packets, "PORTS", {"data_object": port})
    shandong, csrc, sent = journey(2)
    assert receive(csrc, receive_body(shandong, sent)).accepted
    assert seen == [1, 2]


def test_g37_overlapping_deliveries_of_two_relayers_have_one_effect() -> None:
    shandong, csrc, sent = journey(4)
    one = csrc.transaction("packets", "receive", receive_body(shandong, sent[:3]))
    two = csrc.transaction("packets", "receive", receive_body(shandong, sent[1:]))
    first, second = csrc.execute(one, two).receipts
    assert first.accepted
    assert second.accepted
    assert [body["sequence"] for body in events(second, "packet.received_again")] == [2, 3]
    assert [body["sequence"] for body in events(second, "packet.received")] == [4]
    assert len(events(first, "object.recorded")) + len(events(second, "object.recorded")) == 4


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.req("N0-07")
def test_relayers_that_race_repeat_and_restart_deliver_each_packet_once(seed: int) -> None:
    """Goal: exactly once in effect and no gap. Method: random deliveries, refused ones included,
    until all arrived; the objects recorded are then exactly the ones sent."""
    chance = random.Random(seed)
    shandong, csrc, sent = journey(6)
    recorded: list[Json] = []
    for _ in range(200):
        start = chance.randrange(6)
        end = chance.randrange(start, 6) + 1
        receipt = receive(csrc, receive_body(shandong, sent[start:end]))
        recorded += [body["sequence"] for body in events(receipt, "object.recorded")]
        if len(recorded) == 6:
            break
    assert recorded == [1, 2, 3, 4, 5, 6]


def test_g40_more_than_fifty_packets_in_one_transaction_are_refused() -> None:
    shandong, csrc, sent = journey(51)
    assert receive(csrc, receive_body(shandong, sent)).code == "BODY_MALFORMED"
    assert receive(csrc, receive_body(shandong, sent[:50])).accepted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"source": "beijing"}, "CLIENT_UNKNOWN"),
        ({"height": 0}, "BODY_MALFORMED"),
        ({"height": 99}, "HEIGHT_UNKNOWN"),
        ({"packets": [1]}, "BODY_MALFORMED"),
        ({"packets": [{}]}, "BODY_MALFORMED"),
    ],
)
def test_g39_what_names_no_known_chain_or_height_is_refused(
    change: dict[str, Json], code: str
) -> None:
    shandong, csrc, sent = journey(1)
    assert receive(csrc, receive_body(shandong, sent) | change).code == code
    assert packet_state(csrc) == {}


@pytest.mark.parametrize("sequence", [0, -1, True, "1", 1 << 53])
def test_a_sequence_that_is_no_number_from_one_is_refused(sequence: Json) -> None:
    shandong, csrc, sent = journey(1)
    body = receive_body(shandong, sent)
    entry(body)["sequence"] = sequence
    assert receive(csrc, body).code == "BODY_MALFORMED"


@pytest.mark.parametrize("topic", ["packet.sent", "packet.received"])
def test_no_other_contract_can_put_packet_events_into_a_receipt(topic: str) -> None:
    """Proof bundles take these events as evidence; a contract that emits one is our own bug."""
    shandong, _ = make_pair(FakeKeys())

    @dataclass(frozen=True)
    class Forger:
        name: str = "reports"
        version: int = 1

        def methods(self) -> Mapping[str, Method]:
            return {"report": lambda host, body: host.emit(topic, {})}

    shandong.catalogue = Catalogue([IdentityContract(), Forger()])
    with pytest.raises(AssertionError, match=topic):
        shandong.call("reports", "report", {})


def acknowledge_body(csrc: LedgerChain, acknowledgement: dict[str, Json]) -> dict[str, Json]:
    proof = csrc.prove(receipt_key("shandong", "data_object", 1)).encode().hex()
    return {
        "destination": "csrc",
        "height": csrc.header.height,
        "packets": [
            {
                "port": "data_object",
                "sequence": 1,
                "acknowledgement": acknowledgement,
                "proof": proof,
            }
        ],
    }


def test_a_forged_acknowledgement_is_refused_and_the_true_one_is_kept_once() -> None:
    shandong, csrc, sent = journey(1)
    true = acknowledgement_of(receive(csrc, receive_body(shandong, sent)))
    assert shandong.call("light_client", "update", update_body(csrc)).accepted
    forged = acknowledge_body(csrc, {**true, "code": "SCHEMA_FAILED"})
    assert shandong.call("packets", "acknowledge", forged).code == "PROOF_INVALID"
    body = acknowledge_body(csrc, true)
    kept = shandong.call("packets", "acknowledge", body)
    assert [body["code"] for body in events(kept, "packet.acknowledged")] == [""]
    assert shandong.call("packets", "acknowledge", body).events == ()
    assert shandong.call("packets", "acknowledge", forged).code == "PACKET_CONFLICT"


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"{", b'{"a":1,"a":1}'])
def test_an_event_that_is_no_object_is_a_false_proof_and_no_error_of_ours(body: bytes) -> None:
    with pytest.raises(ProofError):
        event_body("event", body)


def test_an_acknowledgement_with_an_unknown_member_is_refused() -> None:
    shandong, csrc, sent = journey(1)
    true = acknowledgement_of(receive(csrc, receive_body(shandong, sent)))
    assert shandong.call("light_client", "update", update_body(csrc)).accepted
    body = acknowledge_body(csrc, true)
    refused = shandong.call("packets", "acknowledge", body | {"source": "shandong"})
    assert refused.code == "BODY_MALFORMED"
    assert shandong.call("packets", "acknowledge", body).accepted


def test_an_acknowledgement_of_a_packet_never_sent_is_refused() -> None:
    shandong, csrc, sent = journey(1)
    true = acknowledgement_of(receive(csrc, receive_body(shandong, sent)))
    assert shandong.call("light_client", "update", update_body(csrc)).accepted
    body = acknowledge_body(csrc, true)
    entry(body)["sequence"] = 2
    assert shandong.call("packets", "acknowledge", body).code == "PACKET_UNKNOWN"
