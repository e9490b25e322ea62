"""A market sends again what was refused and corrects what was taken, over two real ledgers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.object_parts import Part
from guqiao_sdk.proof.packet import Deadline, Packet
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.host import Host, Method
from services.consensus.domain.contracts.source_mark import source_mark
from tests.unit.xchain.ledger_chain import data_object, events, sent_packets
from tests.unit.xchain.message_chains import CONTENT, CSRC, Messages

MARKET: Final = "shandong"
BODY: Final[dict[str, Json]] = {"subject": {"name": "企业乙"}}


def send(host: Host, body: Mapping[str, Json]) -> None:
    """Send an object, with the mark of its source where `marked` says so."""
    value: Any = data_object(f"{MARKET}:subject:{host.transaction_id()}")
    if body["marked"]:
        value["header"]["source"] = source_mark(host, chain=MARKET, contract="sender", version=1)
    value["header"]["metadata"] = body["metadata"]
    host.send_packet("data_object", value)


@dataclass(frozen=True)
class Sender:
    """What of a register is seen here."""

    name: str = "sender"
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        return {"send": send}


class Market(Messages):
    """A market and the regulatory chain with version 5 of `packets`."""

    def __init__(self) -> None:
        super().__init__(packets_version=5, further=[Sender()])

    def report(self, *, marked: bool = True, metadata: Json = None) -> Packet:
        sent = self[MARKET].call("sender", "send", {"marked": marked, "metadata": metadata or {}})
        (packet,) = sent_packets(sent)
        return packet

    def answered(self, packet: Packet) -> Packet:
        """Deliver a packet and bring the answer home."""
        assert self.deliver(packet).accepted
        assert self.bring_home(packet).accepted
        return packet

    def code(self, packet: Packet) -> Json:
        return self.acknowledgement(packet)["code"]

    def act(self, method: str, *, alone: bool = False, **body: Any) -> Receipt:
        signers = tuple(self.people[MARKET])[: 1 if alone else 2]
        transaction = self[MARKET].transaction("packets", method, body, signers=signers)
        return self[MARKET].execute(transaction).receipts[0]

    def resubmit(self, packet: Packet, body: Json = None, **change: Json) -> Receipt:
        payload = packet.payload.decode()
        given: dict[str, Any] = {
            "sequence": packet.sequence,
            "payload": payload,
            "body": body,
            **change,
        }
        return self.act("resubmit_object", **given)

    def amend(self, packet: Packet, operation: str, version: int, body: Json) -> Receipt:
        return self.act(
            "amend_object",
            sequence=packet.sequence,
            operation=operation,
            version=version,
            body=body,
            remark="录入有误",
        )

    def exception(self, sequence: int) -> Any:
        return self[CSRC].value(f"objects/exception/{MARKET}/data_object/{sequence:020d}")


def packet_of(receipt: Receipt) -> Packet:
    assert receipt.accepted, receipt
    (packet,) = sent_packets(receipt)
    return packet


def refusal(receipt: Receipt) -> str:
    assert not receipt.accepted
    assert sent_packets(receipt) == []
    return receipt.code


@pytest.mark.req("N0-42", "G2-19-4")
def test_what_was_refused_is_sent_again_and_accepted() -> None:
    market = Market()
    first = market.answered(market.report(marked=False))
    assert market.code(first) == "SOURCE_MISSING"
    receipt = market.resubmit(first, BODY)
    again = market.answered(packet_of(receipt))
    assert market.code(again) == ""
    (told,) = events(receipt, "object.resubmitted")
    assert told == {
        "port": "data_object",
        "sequence": 1,
        "resubmitted_as": 2,
        "code": "SOURCE_MISSING",
    }
    kept = market.exception(1)
    assert (kept["state"], kept["resubmitted_as"]) == ("ACCEPTED", 2)
    stored: Any = market[CSRC].value(f"objects/{kept['object_id']}/0")
    header = stored["object"]["header"]
    assert stored["object"]["body"] == BODY
    assert header["metadata"] == {"resubmits": 1}
    assert header["source"] == {
        "chain_id": MARKET,
        "node": "every-replica",
        "org_did": f"did:rem:{MARKET}:ORGANISATION",
        "system": "packets/5",
    }
    assert len(header["seal"]) == 2


@pytest.mark.req("N0-42")
def test_what_is_refused_again_is_sent_again_from_its_last_packet() -> None:
    market = Market()
    taken = market.answered(market.report())
    first = market.answered(packet_of(market.amend(taken, "update", 2, BODY)))
    second = market.answered(packet_of(market.resubmit(first)))
    assert market.code(second) == "ILLEGAL_TRANSITION"
    assert market.exception(first.sequence)["state"] == "RESUBMITTED"
    assert refusal(market.resubmit(first)) == "ILLEGAL_TRANSITION"
    between = market.answered(packet_of(market.amend(taken, "update", 1, BODY)))
    assert market.code(between) == ""
    third = market.answered(packet_of(market.resubmit(second)))
    assert market.code(third) == ""
    kept = market.exception(first.sequence)
    assert (kept["state"], kept["resubmitted_as"]) == ("ACCEPTED", third.sequence)
    assert market.exception(second.sequence)["resubmits"] == first.sequence


def test_what_an_object_says_it_resubmits_counts_for_nothing_where_it_is_sent_again() -> None:
    market = Market()
    first = market.answered(market.report(marked=False, metadata={"resubmits": 99}))
    again = market.answered(packet_of(market.resubmit(first)))
    assert market.code(again) == ""


@pytest.mark.req("N0-42")
def test_each_resubmission_names_the_first_packet() -> None:
    market = Market()
    first = market.answered(market.report(marked=False))
    unsealed = packet_of(market.resubmit(first))
    assert refusal(market.resubmit(first)) == "ILLEGAL_TRANSITION"
    assert refusal(market.resubmit(unsealed)) == "PACKET_UNKNOWN"
    assert market.code(market.answered(unsealed)) == ""
    assert refusal(market.resubmit(first)) == "ILLEGAL_TRANSITION"
    assert refusal(market.resubmit(unsealed)) == "ILLEGAL_TRANSITION"


@pytest.mark.parametrize("place", ["payload", "sequence"])
def test_only_what_this_chain_sent_is_sent_again(place: str) -> None:
    market = Market()
    first = market.answered(market.report(marked=False))
    other = market.answered(market.report(marked=False))
    given: Json = other.payload.decode() if place == "payload" else other.sequence
    assert refusal(market.resubmit(first, **{place: given})) == "BODY_MALFORMED"


def test_what_was_taken_is_not_sent_again() -> None:
    market = Market()
    taken = market.answered(market.report())
    assert refusal(market.resubmit(taken)) == "ILLEGAL_TRANSITION"
    assert refusal(market.resubmit(market.report())) == "PACKET_UNKNOWN"


@pytest.mark.req("G2-17-7")
def test_no_number_of_a_person_is_sent_by_it() -> None:
    market = Market()
    first = market.answered(market.report(marked=False))
    assert refusal(market.resubmit(first, {"phone": "13800138000"})) == "TIER_NONPUBLIC_ONCHAIN"
    taken = market.answered(market.report())
    bad = market.amend(taken, "update", 1, {"phone": "13800138000"})
    assert refusal(bad) == "TIER_NONPUBLIC_ONCHAIN"


def test_a_part_is_sent_again_as_it_was() -> None:
    market = Market()
    part: Json = Part(f"{MARKET}:subject:{'ab' * 32}", 1, 2, "cd" * 32).to_json()
    first = market.answered(market.report(marked=False, metadata={"part": part}))
    assert refusal(market.resubmit(first, BODY)) == "BODY_MALFORMED"
    again = packet_of(market.resubmit(first))
    assert again.payload.count(b'"part"') == 1


@pytest.mark.req("N0-42")
def test_what_was_taken_is_corrected() -> None:
    market = Market()
    taken = market.answered(market.report())
    object_id = market.acknowledgement(taken)["object_id"]
    steps: tuple[tuple[str, int, Any], ...] = (
        ("update", 1, {"subject": {"n": None}}),
        ("overwrite", 1, BODY),
        ("delete", 2, {}),
    )
    for operation, version, body in steps:
        receipt = market.amend(taken, operation, version, body)
        assert market.code(market.answered(packet_of(receipt))) == ""
        (told,) = events(receipt, "object.amended")
        assert (told["object_id"], told["operation"]) == (object_id, operation)
    assert market[CSRC].value(f"objects/{object_id}/latest") == {
        "version": 2,
        "status": "DELETED",
    }
    late = packet_of(market.amend(taken, "update", 3, BODY))
    assert market.code(market.answered(late)) == "ILLEGAL_TRANSITION"


def test_what_was_refused_is_not_corrected() -> None:
    market = Market()
    first = market.answered(market.report(marked=False))
    assert refusal(market.amend(first, "update", 1, BODY)) == "ILLEGAL_TRANSITION"
    assert refusal(market.amend(market.report(), "update", 1, BODY)) == "PACKET_UNKNOWN"


@pytest.mark.parametrize(
    ("operation", "version", "body", "code"),
    [
        ("create", 1, BODY, "BODY_MALFORMED"),
        ("upsert", 1, BODY, "BODY_MALFORMED"),
        ("update", -1, BODY, "BODY_MALFORMED"),
        ("update", True, BODY, "BODY_MALFORMED"),
        ("update", 1, {}, "SCHEMA_FAILED"),
        ("update", 1, [], "SCHEMA_FAILED"),
        ("delete", 1, BODY, "SCHEMA_FAILED"),
    ],
)
def test_a_malformed_correction_is_refused(
    operation: str, version: int, body: Json, code: str
) -> None:
    market = Market()
    taken = market.answered(market.report())
    assert refusal(market.amend(taken, operation, version, body)) == code


def test_two_persons_of_the_operator_sign() -> None:
    market = Market()
    taken = market.answered(market.report())
    body: dict[str, Json] = {"sequence": taken.sequence, "payload": "{}", "body": None}
    assert refusal(market.act("resubmit_object", alone=True, **body)) == "CHECKER_MISSING"
    body = {"sequence": 1, "operation": "delete", "version": 1, "body": {}, "remark": "x"}
    assert refusal(market.act("amend_object", alone=True, **body)) == "CHECKER_MISSING"


@pytest.mark.req("G2-19-4")
def test_a_message_bears_the_mark_of_its_source() -> None:
    market = Market()
    (packet,) = sent_packets(market.write(MARKET, CSRC))
    assert b'"source":{' in packet.payload
    assert market.deliver(packet).accepted
    assert market.code(packet) == ""


@pytest.mark.req("G2-19-4")
def test_a_message_without_a_mark_is_refused() -> None:
    market = Market()
    value: Any = data_object(f"{MARKET}:notice:{'ab' * 32}")
    payload: Json = {"to": CSRC, "object": {**value, "body": CONTENT}}
    packet = market.forge(MARKET, CSRC, "market_message", payload, Deadline(height=1_000))
    assert market.deliver(packet).accepted
    answer: Any = market.acknowledgement(packet)
    assert (answer["code"], answer["detail"]) == ("SOURCE_MISSING", {"field": "header.source"})
