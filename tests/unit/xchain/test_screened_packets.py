"""Version 2 of `packets`: no number of a person that comes in the clear is kept in the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import receipt_key
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.host import Host, Method
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    data_object,
    events,
    receive_body,
    sent_packets,
    update_body,
)

# All made up, each with its right check digit.
RESIDENT_ID: Final = "11010519491231002X"
MOBILE: Final = "13800138000"
CARD: Final = "6222021234567890128"
REFUSED: Final = "TIER_NONPUBLIC_ONCHAIN"
CLEAN: Final[dict[str, Json]] = {
    "subject": {
        "name": "企业甲",
        "uscc": "91370199MA9900200L",
        "registered_capital_fen": 13_900_139_000,
        "identity_digest": "ab" * 32,
        "established_on": "2025-09-01",
    }
}


def send(host: Host, body: Mapping[str, Json]) -> None:
    """Send a data object for each of `bodies`."""
    bodies = body["bodies"]
    assert isinstance(bodies, list)
    for index, each in enumerate(bodies):
        value = data_object(f"shandong:subject{index}:{host.transaction_id()}")
        host.send_packet("data_object", {**value, "body": each})


@dataclass(frozen=True)
class SenderContract:
    """A market's contract that sends what it is given."""

    name: str = "sender"
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        return {"send": send}


def delivered(bodies: list[Json], *, version: int = 2) -> tuple[LedgerChain, Receipt]:
    """The regulatory chain with this version of `packets`, and its receipt of a delivery."""
    keys = FakeKeys()
    hashes = {name: Replicas(keys, name).set.hash() for name in ("shandong", "csrc")}
    shandong = LedgerChain(
        "shandong",
        keys,
        destination="csrc",
        remotes={"csrc": hashes["csrc"]},
        contracts=[SenderContract()],
    )
    csrc = LedgerChain("csrc", keys, destination=None, remotes={"shandong": hashes["shandong"]})
    csrc.genesis = replace(
        csrc.genesis,
        contracts=tuple(
            replace(each, version=version if each.name == "packets" else each.version)
            for each in csrc.genesis.contracts
        ),
    )
    sent = shandong.call("sender", "send", {"bodies": bodies})
    assert sent.accepted, sent.detail
    assert csrc.call("light_client", "update", update_body(shandong)).accepted
    return csrc, csrc.call("packets", "receive", receive_body(shandong, sent_packets(sent)))


def acknowledgements(csrc: LedgerChain, count: int) -> list[dict[str, Json]]:
    """What the chain keeps as its answers to the first packets."""
    found: list[dict[str, Json]] = []
    for sequence in range(1, count + 1):
        receipt = csrc.value(receipt_key("shandong", "data_object", sequence))
        assert isinstance(receipt, dict)
        acknowledgement = receipt["acknowledgement"]
        assert isinstance(acknowledgement, dict)
        found.append(acknowledgement)
    return found


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    ("body", "kind", "place"),
    [
        ({"subject": {"note": f"法定代表人 {RESIDENT_ID}"}}, "ID_NUMBER", "$.body.subject.note"),
        ({"subject": {"phones": ["", MOBILE]}}, "PHONE", "$.body.subject.phones[1]"),
        ({"accounts": {CARD: 1}}, "BANK_ACCOUNT", "$.body.accounts.*"),
    ],
)
def test_g33_an_object_with_a_number_of_a_person_is_refused_and_the_others_go_on(
    body: Json, kind: str, place: str
) -> None:
    """The packet has its receipt, as every refused one; neither state nor events hold the number.
    The relayer's transaction does: what was sent in the clear is the market's to answer for.
    """
    csrc, receipt = delivered([CLEAN, body, CLEAN])
    assert receipt.accepted
    assert [each["code"] for each in acknowledgements(csrc, 3)] == ["", REFUSED, ""]
    assert acknowledgements(csrc, 3)[1]["detail"] == {"kind": kind, "place": place}
    assert [each["sequence"] for each in events(receipt, "object.recorded")] == [1, 3]
    (told,) = events(receipt, "object.refused")
    assert (told["code"], told["sequence"]) == (REFUSED, 2)
    kept = [*csrc.state.values.values(), *(event.body for event in receipt.events)]
    for number in (RESIDENT_ID, MOBILE, CARD):
        assert not [value for value in kept if number.encode() in value]
        assert not [key for key in csrc.state.values if number.encode() in key]


@pytest.mark.req("G2-17-7", "N0-07")
def test_g33_objects_without_such_numbers_are_recorded_as_before() -> None:
    """Credit codes, digests, dates and amounts are no numbers of persons."""
    csrc, receipt = delivered([CLEAN, CLEAN])
    assert [each["code"] for each in acknowledgements(csrc, 2)] == ["", ""]
    first, _ = delivered([CLEAN, CLEAN], version=1)
    assert acknowledgements(csrc, 2) == acknowledgements(first, 2)
    assert len(events(receipt, "object.recorded")) == 2


def test_a_chain_of_version_1_takes_what_it_always_took() -> None:
    csrc, _ = delivered([{"subject": {"phone": MOBILE}}], version=1)
    assert [each["code"] for each in acknowledgements(csrc, 1)] == [""]
