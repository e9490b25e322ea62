"""Data objects with their provenance on both sides of a link, from the same blocks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest

from guqiao.reporting.v1 import reporting_service_pb2 as pb
from guqiao_sdk.proof.data_object import data_object_digest
from tests.integration.reporting.desks import Desks, open_desks
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal

if TYPE_CHECKING:
    pass


@pytest.fixture
async def desks(new_database: NewDatabase) -> AsyncIterator[Desks]:
    async with open_desks(new_database) as opened:
        yield opened


@pytest.mark.req("G2-19-3", "G2-19-4", "N0-07")
async def test_both_sides_tell_the_same_object_with_the_same_source(desks: Desks) -> None:
    """Where it happened, under which packet, where it is recorded, and the same digest."""
    sent = desks.link.report(5)
    source_height = desks.link.market.node.chain.header.height
    await desks.project()
    before = await desks.listed("shandong")
    assert [item.provenance.anchored for item in before] == [False] * 5
    assert await desks.listed("csrc") == []
    await desks.link.deliver_and_acknowledge()
    await desks.project()

    market, regulator = await desks.listed("shandong"), await desks.listed("csrc")

    assert [item.object_id for item in market] == [item.object_id for item in regulator]
    for number, (ours, theirs) in enumerate(zip(market, regulator, strict=True), start=1):
        here, there = ours.provenance, theirs.provenance
        for provenance in (here, there):
            assert provenance.source_chain == "shandong"
            assert provenance.source_transaction_id == sent.transaction_id
            assert provenance.packet_sequence == number
            assert provenance.anchored
        assert here.digest == there.digest
        assert (here.recorded_chain, there.recorded_chain) == ("shandong", "csrc")
        assert (here.source_height, here.recorded_height) == (source_height, source_height)
        assert there.source_height >= source_height, "the height that proved it"
        received = desks.link.regulator.node.chain.blocks[there.recorded_height]
        assert there.recorded_transaction_id in {
            receipt.transaction_id for receipt in received.receipts
        }
        for side in ("shandong", "csrc"):
            answer = await desks.stubs[side].GetDataObject(
                pb.GetDataObjectRequest(object_id=ours.object_id, version=ours.version)
            )
            value = json.loads(answer.object)
            assert data_object_digest(value) == here.digest
            assert value["header"]["content"]["object_id"] == ours.object_id


async def test_a_refused_object_is_never_called_anchored(desks: Desks) -> None:
    desks.link.report(1, broken=True)
    desks.link.report(1)
    await desks.link.deliver_and_acknowledge()
    await desks.project()
    market = await desks.listed("shandong")
    assert [item.provenance.anchored for item in market] == [False, True]
    assert len(await desks.listed("csrc")) == 1
    status = await desks.stubs["shandong"].GetStatus(pb.GetStatusRequest())
    assert (status.objects, status.anchored) == (2, 1)
    assert status.projected_height == desks.link.market.node.chain.header.height


async def test_rebuilding_gives_the_same_rows(desks: Desks) -> None:
    desks.link.report(4)
    await desks.link.deliver_and_acknowledge()
    tables = []
    for _ in range(2):
        await desks.project()
        tables.append([await lab.rows("data_objects", "place") for lab in desks.labs.values()])
    assert tables[0] == tables[1]
    assert [len(rows) for rows in tables[0]] == [4, 4]


async def test_what_is_not_there_and_tokens_that_nobody_gave_are_refused(desks: Desks) -> None:
    desks.link.report()
    await desks.project()
    stub = desks.stubs["shandong"]
    not_found = grpc.StatusCode.NOT_FOUND, "OBJECT_UNKNOWN"
    (known,) = await desks.listed("shandong")
    for object_id, version in ((known.object_id, 1), (known.object_id, 2**32 - 1), ("?", 0)):
        request = pb.GetDataObjectRequest(object_id=object_id, version=version)
        assert await refusal(stub.GetDataObject(request)) == not_found
    for token in ("-1", "1.5", "x", "٣", "9" * 19):
        asked = pb.ListDataObjectsRequest(page_token=token)
        assert await refusal(stub.ListDataObjects(asked)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "PAGE_TOKEN_INVALID",
        )
    assert await desks.listed("shandong", content_type="subject") == [known]
    assert await desks.listed("shandong", content_type="other") == []
