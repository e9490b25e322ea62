"""What the regulatory chain did not take is known on both sides, by its code, until it is taken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest

from guqiao.reporting.v1 import reporting_service_pb2 as pb
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts.host import Host, Method
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.source_mark import source_mark
from tests.integration.reporting.desks import Desks, open_desks
from tests.plugins.link_lab import KEYS, PEER_OF_MARKET
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal
from tests.unit.proof.proof_keys import Replicas
from tests.unit.xchain.ledger_chain import ROLES, LedgerChain, data_object, sent_packets

OPERATOR: Final = "did:rem:shandong:OPERATOR"


def send(host: Host, body: Mapping[str, Json]) -> None:
    """Send an object, with the mark of its source where `marked` says so."""
    value: Any = data_object(f"shandong:subject:{host.transaction_id()}")
    if body["marked"]:
        value["header"]["source"] = source_mark(
            host, chain="shandong", contract="sender", version=1
        )
    host.send_packet("data_object", value)


@dataclass(frozen=True)
class Sender:
    """What of a register is seen here."""

    name: str = "sender"
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        return {"send": send}


def person(name: str, *roles: str) -> IdentityRecord:
    did = f"{OPERATOR}.{name}"
    key = KeyRecord(KEYS.public_key(did), 0, 1 << 52, False)
    return IdentityRecord(did, OPERATOR, frozenset(roles), True, {"key-1": key})


def peer() -> IdentityRecord:
    key = KeyRecord(KEYS.public_key(PEER_OF_MARKET), 0, 1 << 52, False)
    roles = frozenset({"peer_gateway"})
    return IdentityRecord(PEER_OF_MARKET, PEER_OF_MARKET, roles, True, {"key-1": key})


SIGNERS: Final = (person("maker", "operator_maker"), person("checker", "operator_checker"))


@pytest.fixture
async def desks(new_database: NewDatabase) -> AsyncIterator[Desks]:
    market = LedgerChain(
        "shandong",
        KEYS,
        destination="csrc",
        remotes={"csrc": Replicas(KEYS, "csrc").set.hash()},
        roles=ROLES | {"observer", "operator_maker"},
        others=[peer(), *SIGNERS],
        contracts=[Sender()],
        packets_version=5,
    )
    async with open_desks(new_database, market=market, packets_version=5) as opened:
        yield opened


def report(desks: Desks, *, marked: bool) -> Packet:
    receipt = desks.link.market.node.chain.call("sender", "send", {"marked": marked})
    (packet,) = sent_packets(receipt)
    return packet


def act(desks: Desks, method: str, **body: Json) -> Packet:
    chain = desks.link.market.node.chain
    transaction = chain.transaction("packets", method, body, signers=SIGNERS)
    (packet,) = sent_packets(chain.execute(transaction).receipts[0])
    return packet


async def refused(desks: Desks, side: str, **fields: Any) -> list[pb.Refusal]:
    found: list[pb.Refusal] = []
    request = pb.ListRefusalsRequest(page_size=1, **fields)
    while True:
        page = await desks.stubs[side].ListRefusals(request)
        found += page.refusals
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def counted(desks: Desks) -> list[int]:
    status = [await desks.stubs[s].GetStatus(pb.GetStatusRequest()) for s in ("shandong", "csrc")]
    return [each.refused for each in status]


@pytest.mark.req("N0-42")
async def test_both_sides_tell_what_was_refused_and_what_became_of_it(desks: Desks) -> None:
    packet = report(desks, marked=False)
    report(desks, marked=True)
    await desks.link.deliver_and_acknowledge()
    await desks.project()
    object_id = json.loads(packet.payload)["header"]["content"]["object_id"]
    for side, state in (("shandong", "REFUSED"), ("csrc", "PROOF_FAILED")):
        (row,) = await refused(desks, side)
        assert (row.source_chain, row.packet_sequence, row.state) == ("shandong", 1, state)
        assert (row.object_id, row.version) == (object_id, 0)
        assert (row.code, json.loads(row.detail)) == ("SOURCE_MISSING", {"field": "header.source"})
    assert await counted(desks) == [1, 1]
    payload = packet.payload.decode()
    act(desks, "resubmit_object", sequence=1, payload=payload, body=None)
    await desks.project()
    (row,) = await refused(desks, "shandong", open_only=True)
    assert (row.state, row.resubmitted_as) == ("RESUBMITTED", 3)
    await desks.link.deliver_and_acknowledge()
    await desks.project()
    for side in ("shandong", "csrc"):
        (row,) = await refused(desks, side)
        assert (row.state, row.resubmitted_as) == ("ACCEPTED", 3)
        assert await refused(desks, side, open_only=True) == []
        provenance = {each.object_id: each.provenance for each in await desks.listed(side)}
        assert provenance[object_id].anchored
        assert provenance[object_id].packet_sequence == 3
    assert await counted(desks) == [0, 0]


@pytest.mark.req("N0-42")
async def test_what_is_refused_again_stays_open_under_the_first_packet(desks: Desks) -> None:
    report(desks, marked=True)
    await desks.link.deliver_and_acknowledge()
    amend: dict[str, Any] = {"sequence": 1, "operation": "update", "remark": "x", "version": 2}
    first = act(desks, "amend_object", **amend, body={"n": 1})
    await desks.link.deliver_and_acknowledge()
    act(desks, "resubmit_object", sequence=2, payload=first.payload.decode(), body={"n": 2})
    await desks.link.deliver_and_acknowledge()
    await desks.project()
    for side in ("shandong", "csrc"):
        assert [row.packet_sequence for row in await refused(desks, side, open_only=True)] == [2]
        one, two = await refused(desks, side)
        assert (one.state, one.resubmitted_as, one.resubmits) == ("RESUBMITTED", 3, 0)
        assert (two.packet_sequence, two.code, two.resubmits) == (3, "ILLEGAL_TRANSITION", 2)
    assert await counted(desks) == [1, 1]


async def test_a_rewritten_version_takes_the_place_of_what_it_was(desks: Desks) -> None:
    report(desks, marked=True)
    await desks.link.deliver_and_acknowledge()
    amend: dict[str, Any] = {"sequence": 1, "operation": "overwrite", "remark": "x", "version": 0}
    act(desks, "amend_object", **amend, body={"n": 7})
    await desks.link.deliver_and_acknowledge()
    await desks.project()
    for side in ("shandong", "csrc"):
        (row,) = await desks.listed(side)
        assert (row.provenance.packet_sequence, row.provenance.anchored) == (2, True)
        request = pb.GetDataObjectRequest(object_id=row.object_id, version=0)
        answer = await desks.stubs[side].GetDataObject(request)
        assert json.loads(answer.object)["body"] == {"n": 7}


async def test_a_page_token_that_is_none_is_refused(desks: Desks) -> None:
    request = pb.ListRefusalsRequest(page_token="x")
    code, name = await refusal(desks.stubs["csrc"].ListRefusals(request))
    assert (code, name) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
