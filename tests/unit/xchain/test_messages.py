"""Messages between markets go through the regulatory chain, which sees and proves every step."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Deadline, Packet
from services.consensus.domain.contracts.packet_link import messages
from tests.unit.xchain.ledger_chain import events, receive_body, sent_packets
from tests.unit.xchain.link_ports import tell
from tests.unit.xchain.message_chains import CONTENT, CSRC, Messages, states

SHANDONG, BEIJING = "shandong", "beijing"
MESSAGE, DELIVERY, RESULT = messages.MESSAGE, messages.DELIVERY, messages.RESULT


def first_hop(link: Messages, **change: Json) -> Packet:
    receipt = link.write(SHANDONG, BEIJING, **change)
    assert receipt.accepted, receipt
    (packet,) = sent_packets(receipt)
    return packet


def object_in(packet: Packet) -> dict[str, Json]:
    found = json.loads(packet.payload)["object"]
    assert isinstance(found, dict)
    return found


@pytest.mark.req("G2-03-1", "G2-06-4", "G2-19-4", "N0-07")
def test_a_message_reaches_another_market_through_the_regulator_and_its_result_comes_home() -> None:
    link = Messages()
    written = link.write(SHANDONG, BEIJING)
    assert states(written) == ["SENT"]
    (packet,) = sent_packets(written)
    assert (packet.destination, packet.port) == (CSRC, MESSAGE)

    (onward,) = link.carry([packet])
    assert (onward.source, onward.destination, onward.port) == (CSRC, BEIJING, DELIVERY)
    seen = link[CSRC].value(f"packets/message/relayed/shandong/{1:020d}")
    assert isinstance(seen, dict)
    assert (seen["to"], seen["onward"]) == (BEIJING, 1)
    assert seen["object"] == object_in(packet), "the regulator sees the whole message"

    assert link.carry([onward]) == []
    kept = link[BEIJING].value(f"packets/message/received/{1:020d}")
    assert isinstance(kept, dict)
    assert kept["from"] == {"chain": SHANDONG, "sequence": 1, "height": seen["source_height"]}
    assert kept["object"] == seen["object"]
    assert kept["digest"] == data_object_digest(object_in(packet)).hex()

    assert states(link.bring_home(packet)) == ["RELAYED"]
    home = link.bring_home(onward)
    (result,) = sent_packets(home)
    assert (result.destination, result.port) == (SHANDONG, RESULT)
    assert states(link.deliver(result)) == ["DELIVERED"]
    stands = link.sent(SHANDONG, CSRC, MESSAGE)
    assert (stands["state"], stands["code"]) == ("DELIVERED", "")
    assert stands["digest"] == kept["digest"]
    assert link.bring_home(result).accepted


def key_of(seal: Json) -> Json:
    """The public key that a seal names."""
    assert isinstance(seal, dict)
    public_key = seal["pub_key"]
    assert isinstance(public_key, dict)
    return public_key["value"]


def test_a_message_is_sealed_by_those_who_signed_and_the_seals_stay_on_the_second_hop() -> None:
    link = Messages()
    packet = first_hop(link)
    (onward,) = link.carry([packet])
    for each in (packet, onward):
        header = object_in(each)["header"]
        assert isinstance(header, dict)
        seals = header["seal"]
        assert isinstance(seals, list)
        keys = [person.keys["key-1"].public_key.hex() for person in link.people[SHANDONG]]
        assert [key_of(seal) for seal in seals] == keys


def test_a_result_that_is_home_before_the_acknowledgement_stands() -> None:
    link = Messages()
    packet = first_hop(link)
    (onward,) = link.carry([packet])
    link.carry([onward])
    (result,) = sent_packets(link.bring_home(onward))
    assert states(link.deliver(result)) == ["DELIVERED"]
    assert states(link.bring_home(packet)) == []
    assert link.sent(SHANDONG, CSRC, MESSAGE)["state"] == "DELIVERED"


@pytest.mark.req("N0-07")
def test_a_message_that_never_reaches_the_regulator_times_out_at_its_sender() -> None:
    link = Messages()
    packet = first_hop(link)
    assert states(link.time_out(packet)) == ["TIMED_OUT"]
    assert link.deliver(packet).code == "PACKET_EXPIRED"
    assert link.sent(SHANDONG, CSRC, MESSAGE)["state"] == "TIMED_OUT"


@pytest.mark.req("N0-07")
def test_a_message_that_never_reaches_the_other_market_comes_home_as_timed_out() -> None:
    """The second hop has the deadline of the first, no later one."""
    link = Messages()
    packet = first_hop(link)
    (onward,) = link.carry([packet])
    assert onward.deadline == Deadline(time_ms=packet.deadline.time_ms)
    (result,) = sent_packets(link.time_out(onward))
    assert states(link.deliver(result)) == ["TIMED_OUT"]
    assert link.deliver(onward).code == "PACKET_EXPIRED"


def test_what_the_other_market_refuses_comes_home_as_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Messages()
    packet = first_hop(link)
    (onward,) = link.carry([packet])
    monkeypatch.setattr(messages, "MESSAGE_BYTES_MAX", 10)
    refused = link.deliver(onward)
    assert [body["code"] for body in events(refused, "message.refused")] == ["SCHEMA_FAILED"]
    (result,) = sent_packets(link.bring_home(onward))
    assert states(link.deliver(result)) == ["REFUSED"]
    assert link.sent(SHANDONG, CSRC, MESSAGE)["code"] == "SCHEMA_FAILED"


def test_what_the_regulator_cannot_send_on_is_refused_to_the_sender() -> None:
    link = Messages()
    (packet,) = sent_packets(link.write(SHANDONG, "guangdong"))
    assert link.carry([packet]) == []
    assert link.acknowledgement(packet)["code"] == "CLIENT_UNKNOWN"
    assert states(link.bring_home(packet)) == ["REFUSED"]
    assert link.sent(SHANDONG, CSRC, MESSAGE)["code"] == "CLIENT_UNKNOWN"


def test_a_chain_sends_no_message_to_itself_nor_gets_its_own_back() -> None:
    link = Messages()
    assert link.write(SHANDONG, SHANDONG).code == "BODY_MALFORMED"
    packet = first_hop(link)
    payload: Json = {"to": SHANDONG, "object": object_in(packet)}
    forged = link.forge(SHANDONG, CSRC, MESSAGE, payload, packet.deadline)
    assert link.carry([forged]) == []
    assert link.acknowledgement(forged)["code"] == "SCHEMA_FAILED"


def test_a_message_to_the_regulator_itself_stays_there() -> None:
    link = Messages()
    receipt = link.write(SHANDONG, CSRC, deadline={"height": 99})
    (packet,) = sent_packets(receipt)
    assert packet.deadline == Deadline(height=99)
    assert link.carry([packet]) == []
    assert states(link.bring_home(packet)) == ["DELIVERED"]


@pytest.mark.req("G2-03-1")
def test_the_regulator_sends_a_message_to_a_market_and_learns_with_proof_that_it_arrived() -> None:
    link = Messages()
    receipt = link.write(CSRC, SHANDONG)
    (packet,) = sent_packets(receipt)
    assert (packet.port, packet.destination) == (DELIVERY, SHANDONG)
    link.carry([packet])
    kept = link[SHANDONG].value(f"packets/message/received/{1:020d}")
    assert isinstance(kept, dict)
    mark = kept["from"]
    assert isinstance(mark, dict)
    assert (mark["chain"], mark["sequence"]) == (CSRC, None)
    home = link.bring_home(packet)
    assert states(home) == ["DELIVERED"]
    assert sent_packets(home) == [], "nobody else's message"


# --- Who may, and what --------------------------------------------------------------------------


@pytest.mark.parametrize("chain", [SHANDONG, CSRC])
def test_one_person_alone_sends_no_message(chain: str) -> None:
    link = Messages()
    body: dict[str, Json] = {"to": BEIJING, "type": "notice", "content": CONTENT}
    body["deadline"] = {"within_ms": 1}
    person = link.people[chain][:1]
    alone = link[chain].transaction("packets", "send_message", body, signers=tuple(person))
    assert link[chain].execute(alone).receipts[0].code == "CHECKER_MISSING"
    assert link[chain].call("packets", "send_message", body).code == "ROLE_MISSING"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content": {}}, "BODY_MALFORMED"),
        ({"content": []}, "BODY_MALFORMED"),
        ({"content": {"text": "长" * 80_000}}, "LIMIT_EXCEEDED"),
        ({"type": "Notice"}, "BODY_MALFORMED"),
        ({"type": ""}, "BODY_MALFORMED"),
        ({"type": 7}, "BODY_MALFORMED"),
        ({"deadline": {}}, "BODY_MALFORMED"),
        ({"deadline": {"height": 9}}, "BODY_MALFORMED"),
        ({"deadline": {"within_ms": 1, "time_ms": 1 << 50}}, "BODY_MALFORMED"),
        ({"deadline": {"time_ms": 1}}, "BODY_MALFORMED"),
        ({"deadline": {"within_ms": True}}, "BODY_MALFORMED"),
        ({"deadline": {"working_days": 1_001}}, "BODY_MALFORMED"),
        ({"seal": []}, "BODY_MALFORMED"),
    ],
)
def test_a_message_of_another_form_is_refused(change: dict[str, Json], code: str) -> None:
    receipt = Messages().write(SHANDONG, BEIJING, **change)
    assert receipt.code == code
    assert receipt.events == ()


@pytest.mark.req("G2-17-1")
def test_g33_a_number_of_a_person_is_refused_where_it_is_sent_and_where_it_arrives() -> None:
    link = Messages()
    number = "11010519491231002X"
    refused = link.write(SHANDONG, BEIJING, content={"text": f"身份证 {number}"})
    assert refused.code == "TIER_NONPUBLIC_ONCHAIN"
    packet = first_hop(link)
    value = object_in(packet)
    value["body"] = {"text": number}
    payload: Json = {"to": BEIJING, "object": value}
    forged = link.forge(SHANDONG, CSRC, MESSAGE, payload, packet.deadline)
    assert link.carry([forged]) == []
    assert link.acknowledgement(forged)["code"] == "TIER_NONPUBLIC_ONCHAIN"


@pytest.mark.req("G2-19-4")
@pytest.mark.parametrize("spoiled", ["no seal", "other source", "other chain's id", "an update"])
def test_g31_a_message_without_its_own_mark_is_refused(spoiled: str) -> None:
    link = Messages()
    packet = first_hop(link)
    value = object_in(packet)
    header = value["header"]
    assert isinstance(header, dict)
    content = header["content"]
    assert isinstance(content, dict)
    match spoiled:
        case "no seal":
            header["seal"] = []
        case "other source":
            header["source"] = {"chain_id": BEIJING, "node": "1", "org_did": "did", "system": "x"}
        case "other chain's id":
            content["object_id"] = str(content["object_id"]).replace(SHANDONG, BEIJING)
        case "an update":
            content["operation"] = "update"
    payload: Json = {"to": BEIJING, "object": value}
    forged = link.forge(SHANDONG, CSRC, MESSAGE, payload, packet.deadline)
    assert link.carry([forged]) == []
    expected = "SCHEMA_FAILED" if spoiled == "an update" else "SOURCE_MISSING"
    assert link.acknowledgement(forged)["code"] == expected


@pytest.mark.parametrize(
    "payload",
    [
        "text",
        {},
        {"to": 1, "object": {}},
        {"to": "", "object": {}},
        {"to": "b" * 65, "object": {}},
        {"to": BEIJING, "object": 1},
    ],
)
def test_a_payload_of_another_form_is_refused_and_kept_as_an_exception(payload: Json) -> None:
    link = Messages()
    deadline = Deadline(time_ms=link[CSRC].header.block_time_ms + 600_000)
    forged = link.forge(SHANDONG, CSRC, MESSAGE, payload, deadline)
    assert link.carry([forged]) == []
    assert link.acknowledgement(forged)["code"] == "SCHEMA_FAILED"
    kept = link[CSRC].value(f"packets/message/refused/shandong/{MESSAGE}/{1:020d}")
    assert isinstance(kept, dict)
    assert kept["code"] == "SCHEMA_FAILED"


def test_a_message_to_another_market_without_a_time_is_refused_by_the_regulator() -> None:
    link = Messages()
    packet = first_hop(link)
    payload: Json = json.loads(packet.payload)
    forged = link.forge(SHANDONG, CSRC, MESSAGE, payload, Deadline(height=99))
    assert link.carry([forged]) == []
    assert link.acknowledgement(forged)["code"] == "PACKET_DEADLINE_NONE"


# --- No way around ------------------------------------------------------------------------------


def test_g28_no_market_takes_a_message_of_another_one_directly() -> None:
    link = Messages()
    forged = link.forge(SHANDONG, BEIJING, DELIVERY, {"from": {}, "object": {}}, Deadline())
    body = receive_body(link[SHANDONG], [forged])
    assert link[BEIJING].call("packets", "receive", body).code == "CLIENT_UNKNOWN"


@pytest.mark.parametrize("port", [DELIVERY, RESULT, "objects", "identity"])
def test_g28_the_regulator_takes_nothing_from_a_market_that_only_it_may_send(port: str) -> None:
    link = Messages()
    forged = link.forge(SHANDONG, CSRC, port, {}, Deadline())
    tell(link[CSRC], link[SHANDONG])
    body = receive_body(link[SHANDONG], [forged])
    assert link[CSRC].call("packets", "receive", body).code == "PACKET_PORT_FORBIDDEN"


@pytest.mark.parametrize("port", [MESSAGE, "data_object"])
def test_g28_a_market_takes_no_business_of_the_regulatory_chain(port: str) -> None:
    link = Messages()
    forged = link.forge(CSRC, SHANDONG, port, {}, Deadline())
    tell(link[SHANDONG], link[CSRC])
    body = receive_body(link[CSRC], [forged])
    assert link[SHANDONG].call("packets", "receive", body).code == "PACKET_PORT_FORBIDDEN"


@pytest.mark.parametrize(
    "mark",
    [
        None,
        {"chain": SHANDONG},
        {"chain": BEIJING, "sequence": 1, "height": 1},
        {"chain": SHANDONG, "sequence": None, "height": 1},
        {"chain": CSRC, "sequence": 1, "height": 1},
    ],
)
def test_a_delivery_without_a_true_source_mark_is_refused(mark: Json) -> None:
    link = Messages()
    value = object_in(first_hop(link))
    forged = link.forge(CSRC, BEIJING, DELIVERY, {"from": mark, "object": value}, Deadline())
    link.carry([forged])
    assert link.acknowledgement(forged)["code"] == "SOURCE_MISSING"


@pytest.mark.parametrize(
    "change", [{"code": None}, {"code": "X" * 65}, {"digest": "a" * 65}, {"digest": 1}, {"more": 1}]
)
def test_a_result_of_another_form_changes_nothing(change: dict[str, Json]) -> None:
    link = Messages()
    first_hop(link)
    before = link.sent(SHANDONG, CSRC, MESSAGE)
    result: dict[str, Json] = {
        "sequence": 1,
        "to": BEIJING,
        "code": "",
        "digest": None,
        "height": 1,
    }
    forged = link.forge(CSRC, SHANDONG, RESULT, {**result, **change}, Deadline())
    link.carry([forged])
    assert link.acknowledgement(forged)["code"] == "SCHEMA_FAILED"
    assert link.sent(SHANDONG, CSRC, MESSAGE) == before


@pytest.mark.parametrize("lie", ["unknown", "other receiver", "twice"])
def test_a_result_counts_once_and_for_the_message_it_names(lie: str) -> None:
    link = Messages()
    first_hop(link)
    result: dict[str, Json] = {
        "sequence": 1,
        "to": BEIJING,
        "code": "",
        "digest": None,
        "height": 1,
    }
    match lie:
        case "unknown":
            result["sequence"] = 2
        case "other receiver":
            result["to"] = CSRC
        case "twice":
            link.carry([link.forge(CSRC, SHANDONG, RESULT, {**result}, Deadline())])
            result["code"] = "SCHEMA_FAILED"
    before = link.sent(SHANDONG, CSRC, MESSAGE)
    forged = link.forge(CSRC, SHANDONG, RESULT, result, Deadline())
    link.carry([forged])
    expected = "ILLEGAL_TRANSITION" if lie == "twice" else "PACKET_UNKNOWN"
    assert link.acknowledgement(forged)["code"] == expected
    assert link.sent(SHANDONG, CSRC, MESSAGE) == before


# --- Working days -------------------------------------------------------------------------------


@pytest.mark.req("G2-14-3")
def test_a_deadline_in_working_days_ends_with_the_last_moment_of_the_last_of_them() -> None:
    """2025-09-15 and twenty working days: 2025-10-17, over the eight days off of October."""
    link = Messages()
    noticed = datetime(2025, 9, 15, 2, tzinfo=UTC)
    link[SHANDONG].execute(time_ms=int(noticed.timestamp() * 1_000))
    packet = first_hop(link, deadline={"working_days": 20})
    last = datetime(2025, 10, 17, 15, 59, 59, tzinfo=UTC)  # 23:59:59 in China
    assert packet.deadline == Deadline(time_ms=int(last.timestamp() * 1_000) + 999)


@pytest.mark.req("G2-14-3")
def test_working_days_of_a_year_without_a_notice_are_refused_and_not_guessed() -> None:
    link = Messages()
    year = datetime.fromtimestamp(link[SHANDONG].header.block_time_ms / 1_000, tz=UTC).year
    del link[SHANDONG].state.values[f"calendar/year/{year}".encode()]
    refused = link.write(SHANDONG, BEIJING, deadline={"working_days": 3})
    assert refused.code == "CALENDAR_YEAR_UNKNOWN"
    assert json.loads(refused.detail)["year"] == year
