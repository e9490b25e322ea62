"""What the register really sends is what the regulatory chain takes, for a whole dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.register.contract import (
    OPERATIONS,
    REGISTER_V3,
    REGISTER_V4,
    RegisterContract,
)
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_market import dataset, loaded_host

ALL_OPERATIONS = RegisterContract(version=99, operations=tuple(OPERATIONS))
SEAL: dict[str, Json] = {
    "pub_key": {"type": "SM2", "value": "04" + "ab" * 64},
    "digest_algo": "SM3",
    "signature": "cd" * 64,
}


def sealed(body: Json) -> Json:
    """As the host fills the seal with the signature under the operation."""
    assert isinstance(body, dict)
    header = body["header"]
    assert isinstance(header, dict)
    return {**body, "header": {**header, "seal": [SEAL]}}


@pytest.mark.req("N0-07", "G2-17-7")
@pytest.mark.parametrize(
    "record",
    [
        objects.record_object,
        *(partial(objects.record_screened, search=search) for search in Search),
    ],
)
def test_every_object_of_the_tiny_dataset_is_recorded_by_the_regulatory_chain(
    record: Callable[..., dict[str, Json]],
) -> None:
    market = dataset("market-tiny")
    register, regulator = loaded_host(market, ALL_OPERATIONS), MemoryHost()
    operations: Counter[str] = Counter()
    sequence = 0
    for event in market.events:
        outcome = register.run(ALL_OPERATIONS, event.type, event.body, time=event.time)
        assert len(outcome.packets) == (1 if outcome.code is None else 0)
        for port, body in outcome.packets:
            assert port == "data_object"
            sequence += 1
            payload = canonical_json(sealed(body))
            packet = Packet("shandong", "csrc", port, sequence, payload)
            assert record(regulator, packet, sequence)["code"] == "", event.seq
            operations[event.type] += 1
    assert len(operations) > 4
    assert sum(topic == "object.recorded" for topic, _ in regulator.events) == sequence


@pytest.mark.req("G2-19-4")
def test_the_register_marks_the_source_of_each_object_from_version_4_on() -> None:
    market = dataset("market-tiny")
    plain, marked = loaded_host(market, REGISTER_V3), loaded_host(market, REGISTER_V4)
    count = 0
    for event in market.events:
        before = plain.run(REGISTER_V3, event.type, event.body, time=event.time)
        after = marked.run(REGISTER_V4, event.type, event.body, time=event.time)
        assert (before.code, before.events) == (after.code, after.events)
        for (_, old), (_, new) in zip(before.packets, after.packets, strict=True):
            assert isinstance(old, dict)
            assert isinstance(new, dict)
            header = new["header"]
            assert isinstance(header, dict)
            mark = header.pop("source")
            assert mark == {
                "chain_id": "shandong",
                "node": "every-replica",
                "org_did": marked.party.organisation,
                "system": "register/4",
            }
            assert old == new
            count += 1
    assert count > 10
