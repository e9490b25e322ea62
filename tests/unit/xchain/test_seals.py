"""What a registered chain sends is sealed by keys with certificates, or it is refused (G31)."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest

from guqiao_sdk.gm.certificates import service_identity
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, receipt_key
from guqiao_sdk.proof.receipt import Receipt
from tests.unit.xchain.ledger_chain import (
    events,
    sent_packets,
    update_body,
)
from tests.unit.xchain.registered_chains import (
    BEIJING_CHECKER,
    BEIJING_MAKER,
    BOTH_SIDES,
    BY_OPERATOR,
    GENESIS_HASH,
    KEYS,
    NOW,
    REGULATOR,
    TECH_SIDE,
    USCC,
    Registry,
    authority,
    certificate,
    crl,
    detail,
    nodes,
    revoked,
)
from tests.unit.xchain.sealed_link import MAKER_DID, Link, sealing

pytestmark = pytest.mark.req("G2-19-5")


@pytest.mark.req("G2-19-4")
def test_g31_an_object_is_taken_when_its_seals_are_certified_and_refused_before() -> None:
    link = Link.make()
    packet = link.send()
    receipt = link.receive(packet)
    assert events(receipt, "object.recorded") == []
    (told,) = events(receipt, "object.refused")
    assert told["code"] == "SEAL_UNCERTIFIED"
    assert link.registry.csrc.value(f"objects/exception/shandong/data_object/{1:020d}") is not None
    filed = link.file(sealing())
    assert filed.accepted, filed
    (facts,) = events(filed, "chain.certificate_filed")
    assert facts["public_key"] == KEYS.public_key(MAKER_DID).hex()
    assert link.answer()["code"] == ""


def test_g31_an_object_without_a_seal_is_refused() -> None:
    link = Link.make()
    assert link.file(sealing()).accepted
    packet = link.send()
    entry: dict[str, Json] = {
        "destination": "csrc",
        "port": "market_message",
        "class": "unordered",
        "deadline": {"height": 0, "time_ms": 0},
    }
    value = copy.deepcopy(json_of(packet))
    value["header"]["seal"] = []
    sent = link.market.call(
        "reports", "send", {"packets": [{**entry, "payload": {"to": "csrc", "object": value}}]}
    )
    assert sent.accepted, sent
    (forged,) = sent_packets(sent)
    link.registry.csrc.call("light_client", "update", update_body(link.market))
    receipt = link.receive(forged)
    (told,) = events(receipt, "message.refused")
    assert (told["code"], told["detail"]) == ("SOURCE_MISSING", {"field": "header.seal"})


def test_g31_a_message_is_held_to_the_same_rule() -> None:
    link = Link.make()
    packet = link.send()
    entry: dict[str, Json] = {
        "destination": "csrc",
        "port": "market_message",
        "class": "unordered",
        "deadline": {"height": 0, "time_ms": 0},
        "payload": {"to": "csrc", "object": json_of(packet)},
    }

    def sent_message() -> Receipt:
        sent = link.market.call("reports", "send", {"packets": [entry]})
        (message,) = sent_packets(sent)
        link.registry.csrc.call("light_client", "update", update_body(link.market))
        return link.receive(message)

    (told,) = events(sent_message(), "message.refused")
    assert told["code"] == "SEAL_UNCERTIFIED"
    assert link.file(sealing()).accepted
    receipt = sent_message()
    assert events(receipt, "message.refused") == []
    assert len(events(receipt, "message.relayed")) == 1


@pytest.mark.req("G2-17-7")
def test_g33_a_number_of_a_person_in_the_place_of_a_key_is_not_repeated() -> None:
    link = Link.make()
    value = json_of(link.send())
    value["header"]["seal"][0]["pub_key"]["value"] = "13800138000"
    entry: dict[str, Json] = {
        "destination": "csrc",
        "port": "market_message",
        "class": "unordered",
        "deadline": {"height": 0, "time_ms": 0},
        "payload": {"to": "csrc", "object": value},
    }
    (message,) = sent_packets(link.market.call("reports", "send", {"packets": [entry]}))
    link.registry.csrc.call("light_client", "update", update_body(link.market))
    receipt = link.receive(message)
    (told,) = events(receipt, "message.refused")
    assert told["code"] == "TIER_NONPUBLIC_ONCHAIN"
    assert b"13800138000" not in receipt.encode()


def json_of(packet: Packet) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(packet.payload)
    return found


def test_g31_what_was_sealed_after_the_certificates_end_is_refused() -> None:
    link = Link.make()
    assert link.file(sealing(days=1)).accepted
    assert link.answer()["code"] == ""
    at_ms = int((NOW + timedelta(days=1)).timestamp() * 1_000)
    for chain in (link.market, link.registry.csrc):
        chain.execute(time_ms=at_ms)
    assert link.answer()["code"] == "CERTIFICATE_EXPIRED"
    assert link.file(sealing(days=30)).accepted
    assert link.answer()["code"] == ""


def test_g31_what_was_sealed_after_the_revocation_is_refused() -> None:
    link = Link.make()
    pem = sealing()
    assert link.file(pem).accepted
    assert link.publish(crl(revoked(pem, days=1), number=2)).accepted
    assert link.answer()["code"] == "", "it was sealed before"
    assert link.publish(crl(revoked(pem), number=3)).accepted
    assert link.answer()["code"] == "CERTIFICATE_REVOKED"
    assert link.file(pem).code == "CERTIFICATE_REVOKED"
    assert link.publish(crl(number=4)).accepted
    assert link.answer()["code"] == "", "the authority took it back"


def test_g31_no_seal_counts_of_an_authority_that_is_trusted_no_more() -> None:
    link = Link.make()
    filed = link.file(sealing())
    (facts,) = events(filed, "chain.certificate_filed")
    link.registry.must("distrust_root", BOTH_SIDES, fingerprint=facts["authority"])
    assert link.answer()["code"] == "CERTIFICATE_UNTRUSTED"


def test_what_nobody_can_judge_waits_until_there_is_a_list() -> None:
    """A list that ended is no fault of the object: the transaction is refused, the packet waits."""
    link = Link.make()
    assert link.file(sealing()).accepted
    at_ms = int((NOW + timedelta(days=8)).timestamp() * 1_000)
    for chain in (link.market, link.registry.csrc):
        chain.execute(time_ms=at_ms)
    packet = link.send()
    receipt = link.receive(packet)
    assert receipt.code == "CRL_STALE"
    assert link.registry.csrc.value(receipt_key("shandong", packet.port, 1)) is None
    assert link.publish(crl(number=2)).code == "CRL_STALE", "that one ended, too"
    assert link.publish(crl(number=2, days=20)).accepted
    again = link.receive(packet)
    assert again.accepted
    assert len(events(again, "object.recorded")) == 1


def test_the_seals_of_a_chain_that_is_not_in_force_are_nobodys_matter() -> None:
    """As before registration: what genesis or an administrator trusts goes on."""
    link = Link.make(is_registered=False)
    trust: dict[str, Json] = {
        "chain_id": "shandong",
        "genesis_hash": GENESIS_HASH,
        "epoch": 0,
        "replicas": [
            {
                "vote_key": each.public_key.hex(),
                "entity_id": each.entity_id,
                "entity_name": each.entity_name,
            }
            for each in nodes().set.members
        ],
    }
    told = link.registry.csrc.call("light_client", "register_chain", trust)
    assert told.accepted, told
    assert link.answer()["code"] == ""


# --- Filing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        (lambda: sealing(issuer="别的签发机构"), "CERTIFICATE_UNTRUSTED"),
        (lambda: sealing(days=-1), "CERTIFICATE_EXPIRED"),
        (lambda: authority().certificate_pem.decode(), "CERTIFICATE_PURPOSE_WRONG"),
        (
            lambda: sealing(identity=service_identity("shandong", "gateway")),
            "CERTIFICATE_PURPOSE_WRONG",
        ),
        (
            lambda: sealing(identity="did:rem:beijing:91370000MA0000000X"),
            "SEAL_HOLDER_OTHER",
        ),
        (lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n", "CERTIFICATE_MALFORMED"),
        (lambda: crl(), "CERTIFICATE_MALFORMED"),
    ],
)
def test_a_certificate_that_does_not_stand_for_seals_is_not_filed(pem: Any, code: str) -> None:
    link = Link.make()
    assert link.file(pem()).code == code
    assert link.answer()["code"] == "SEAL_UNCERTIFIED"


def test_a_certificate_of_the_operators_own_code_needs_no_did_of_the_region() -> None:
    link = Link.make()
    assert link.file(sealing(identity=f"did:rem:beijing:{USCC[0]}.maker")).accepted


def test_only_the_operator_files_for_its_chain() -> None:
    link = Link.make()
    assert link.file(sealing(), BOTH_SIDES).code == "ROLE_MISSING"
    assert link.file(sealing(), (BEIJING_MAKER, BEIJING_CHECKER)).code == "CHAIN_OWNER_OTHER"
    assert link.file(sealing(), BY_OPERATOR[:1]).code == "CHECKER_MISSING"
    unknown = link.registry.act(
        "file_certificate", BY_OPERATOR, chain_id="beijing", certificate=sealing()
    )
    assert unknown.code == "CHAIN_UNKNOWN"


# --- Revocation lists -----------------------------------------------------------------------------


def test_a_list_is_of_an_authority_that_counts_in_force_and_newer() -> None:
    registry = Registry.make(version=3)

    def publish(pem: str) -> Receipt:
        return registry.act("publish_crl", (TECH_SIDE,), crl=pem)

    assert publish(crl(issuer="别的签发机构")).code == "CERTIFICATE_UNTRUSTED"
    assert publish(crl(days=-1, since=9)).code == "CRL_STALE"
    assert publish(crl(days=9, since=-2)).code == "CRL_AHEAD"
    assert publish(sealing()).code == "CRL_MALFORMED"
    assert registry.act("publish_crl", (BEIJING_CHECKER,), crl=crl()).code == "ROLE_MISSING"
    assert publish(crl(number=5)).accepted
    for older in (crl(number=5), crl(number=4), crl(number=6, since=2)):
        receipt = publish(older)
        assert (receipt.code, detail(receipt)["number"]) == ("CRL_OLDER", "5")
    assert publish(crl(number=6)).accepted


def test_a_list_in_the_name_of_an_authority_that_did_not_sign_it_is_refused() -> None:
    registry = Registry.make(version=3)
    good = crl()
    body = good.splitlines()
    middle = len(body) - 2
    changed = body[middle][:4] + ("A" if body[middle][4] != "A" else "B") + body[middle][5:]
    spoiled_list = "\n".join([*body[:middle], changed, *body[middle + 1 :]]) + "\n"
    receipt = registry.act("publish_crl", (TECH_SIDE,), crl=spoiled_list)
    assert receipt.code in ("CERTIFICATE_UNTRUSTED", "CRL_MALFORMED")


@pytest.mark.req("G2-10-2d")
def test_no_node_is_registered_with_a_revoked_certificate_or_without_a_list() -> None:
    registry = Registry.make(version=3)
    receipt = registry.submit()
    assert (receipt.code, detail(receipt)["node"]) == ("CRL_MISSING", "node-0")
    pem = certificate(nodes().name(2), USCC[2], "演示机构2")
    registry.must("publish_crl", (TECH_SIDE,), crl=crl(revoked(pem)))
    receipt = registry.submit()
    assert (receipt.code, detail(receipt)["node"]) == ("CERTIFICATE_REVOKED", "node-2")
    registry.must("publish_crl", (TECH_SIDE,), crl=crl(number=2))
    assert registry.submit().accepted
    registry.csrc.execute(time_ms=int((NOW + timedelta(days=8)).timestamp() * 1_000))
    named = {"chain_id": "shandong", "digest": registry.digest()}
    registry.must("countersign", (REGULATOR,), **named)
    assert registry.act("start_test", (TECH_SIDE,), **named).code == "CRL_STALE"
