"""One data object's journey between two chains, on the real ledger with real SM2 signatures."""

from __future__ import annotations

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import receipt_key
from guqiao_sdk.proof.receipt import Outcome
from tests.unit.proof.proof_keys import Sm2Keys
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    make_pair,
    receive_body,
    sent_packets,
    update_body,
)


@pytest.fixture(scope="module")
def pair() -> tuple[LedgerChain, LedgerChain]:
    return make_pair(Sm2Keys(open_provider()))


@pytest.mark.req("T2-14", "N0-07", "G2-08-5", "G2-19-4")
def test_a_data_object_reaches_the_regulatory_chain_with_proof_and_its_acknowledgement_comes_home(
    pair: tuple[LedgerChain, LedgerChain],
) -> None:
    """Goal: submit, prove, receive, acknowledge. The relayer below holds no key of either chain's
    replicas and is believed in nothing."""
    shandong, csrc = pair
    sent = shandong.call("reports", "report", {"count": 1, "broken": False})
    (packet,) = sent_packets(sent)
    assert csrc.call("light_client", "update", update_body(shandong)).accepted

    received = csrc.call("packets", "receive", receive_body(shandong, [packet]))

    assert received.outcome is Outcome.APPLIED
    (event,) = events(received, "packet.received")
    acknowledgement = event["acknowledgement"]
    assert isinstance(acknowledgement, dict)
    assert acknowledgement["code"] == ""
    assert acknowledgement["transaction_id"] == sent.transaction_id.hex()
    object_id = f"shandong:subject:{sent.transaction_id.hex()}"
    record = csrc.value(f"objects/{object_id}/0")
    assert isinstance(record, dict)
    assert record["source"] == "shandong"
    assert record["sequence"] == 1
    assert record["source_height"] == shandong.header.height

    assert shandong.call("light_client", "update", update_body(csrc)).accepted
    proof = csrc.prove(receipt_key("shandong", "data_object", 1))
    body: dict[str, Json] = {
        "destination": "csrc",
        "height": csrc.header.height,
        "packets": [
            {
                "port": "data_object",
                "sequence": 1,
                "acknowledgement": acknowledgement,
                "proof": proof.encode().hex(),
            }
        ],
    }
    acknowledged = shandong.call("packets", "acknowledge", body)

    assert acknowledged.accepted, acknowledged.detail
    (home,) = events(acknowledged, "packet.acknowledged")
    assert home["transaction_id"] == sent.transaction_id.hex()
    assert home["object_id"] == object_id
    assert home["destination_height"] == csrc.header.height
    again = shandong.call("packets", "acknowledge", body)
    assert again.accepted
    assert again.events == ()
