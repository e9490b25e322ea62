"""A data object's record says what the chain said; a payload that is another object is our bug."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import Json
from services.reporting.domain.records import Recording, received_object, sent_object
from tests.unit.xchain.ledger_chain import data_object

OBJECT_ID = f"shandong:subject:{'ab' * 32}"
HERE = Recording("csrc", 9, b"r" * 32)


def event(digest: bytes) -> dict[str, Json]:
    return {
        "source": "shandong",
        "source_height": 4,
        "transaction_id": "ab" * 32,
        "sequence": 7,
        "digest": digest.hex(),
    }


@pytest.mark.req("G2-19-3", "G2-19-4")
def test_a_received_object_keeps_its_source_beside_its_recording() -> None:
    value = data_object(OBJECT_ID)
    found = received_object(event(data_object_digest(value)), value, HERE)
    assert (found.object_id, found.version, found.content_type) == (OBJECT_ID, 0, "subject")
    assert (found.source_chain, found.source_height) == ("shandong", 4)
    assert found.source_transaction_id == bytes.fromhex("ab" * 32)
    assert (found.recorded, found.packet_sequence, found.anchored) == (HERE, 7, True)


def test_a_sent_object_is_recorded_where_it_happened_and_not_anchored_yet() -> None:
    value = data_object(OBJECT_ID, version=2, operation="delete")
    found = sent_object({"payload": value, "sequence": 3}, HERE)
    assert (found.source_chain, found.source_height) == (HERE.chain, HERE.height)
    assert (found.recorded, found.version, found.anchored) == (HERE, 2, False)
    assert found.digest == data_object_digest(value)


def test_a_payload_that_is_another_object_is_never_shown_as_the_recorded_one() -> None:
    value = data_object(OBJECT_ID)
    with pytest.raises(AssertionError, match="another object"):
        received_object(event(bytes(32)), value, HERE)
