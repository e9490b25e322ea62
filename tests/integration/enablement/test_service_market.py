"""The service market over gRPC: a registration is the chain's, its descriptor must be whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest

from guqiao.enablement.v1 import enablement_service_pb2 as pb
from guqiao.enablement.v1.enablement_service_pb2_grpc import (
    EnablementServiceStub,
    add_EnablementServiceServicer_to_server,
)
from guqiao_sdk.client.transactions import (
    TransactionResult,
    result_from_message,
    transaction_to_message,
)
from services.enablement.api import POLICIES, EnablementServicer
from services.enablement.app import MIGRATIONS
from services.enablement.consumers import apply_block
from services.enablement.handlers import Handlers
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, refusal

if TYPE_CHECKING:
    from guqiao.enablement.v1.enablement_service_pb2_grpc import EnablementServiceAsyncStub


DESCRIPTOR: dict[str, object] = {
    "name": "credit-report",
    "description": "A report on the credit of a company, made on demand.",
    "interface": {"openapi": "3.1.0", "paths": {}},
    "permission": ["report:read"],
    "endpoint": "grpcs://services.example:443/credit",
}


@dataclass
class Market:
    """The platform and the stub of its publisher."""

    lab: Lab
    stub: EnablementServiceAsyncStub

    async def message(self, descriptor: dict[str, object], method: str = "") -> object:
        transaction = await self.lab.runtime.client.build(
            "services",
            method or "register_service",
            descriptor,  # type: ignore[arg-type]
            request_id=str(uuid4()),
        )
        return transaction_to_message(transaction)

    async def register(self, descriptor: dict[str, object]) -> TransactionResult:
        message = await self.message(descriptor)
        request = pb.RegisterServiceRequest(transaction=message)  # type: ignore[arg-type]
        answer = await self.stub.RegisterService(request)
        return result_from_message(answer.result)


@pytest.fixture
async def market(new_database: NewDatabase) -> AsyncIterator[Market]:
    _, chain = link_chains()
    node = LedgerNode(chain)
    await node.start()
    publisher = identity_of(chain, KEYS)
    try:
        async with open_lab(
            new_database,
            node,
            publisher,
            KEYS.provider,
            service="enablement",
            migrations=MIGRATIONS,
        ) as lab:
            servicer = EnablementServicer(Handlers(lab.pool, lab.runtime.client))
            add = add_EnablementServiceServicer_to_server
            async with lab.serving(POLICIES, add, servicer) as port:
                yield Market(lab, EnablementServiceStub(lab.channel(port, publisher)))
    finally:
        await node.stop()


@pytest.mark.req("G2-22-4")
async def test_each_of_the_five_fields_is_required(market: Market) -> None:
    for field in DESCRIPTOR:
        for empty in (None, ""):
            result = await market.register({**DESCRIPTOR, field: empty})
            assert result.code == "DESCRIPTOR_FIELD_MISSING", field
            assert result.detail["field"] == field
        without = {name: value for name, value in DESCRIPTOR.items() if name != field}
        assert (await market.register(without)).code == "DESCRIPTOR_FIELD_MISSING"
    short = await market.register({**DESCRIPTOR, "description": "too short"})
    assert short.code == "DESCRIPTOR_FIELD_INVALID"
    await market.lab.project(apply_block)
    assert (await market.stub.ListServices(pb.ListServicesRequest())).services == []


@pytest.mark.req("G2-22-4")
async def test_a_registered_service_is_read_back_as_it_was_described(market: Market) -> None:
    result = await market.register(DESCRIPTOR)
    assert result.accepted
    not_found = grpc.StatusCode.NOT_FOUND, "SERVICE_UNKNOWN"
    query = pb.GetServiceRequest(name="credit-report")
    assert await refusal(market.stub.GetService(query)) == not_found, "it is not projected yet"
    await market.lab.project(apply_block)

    service = (await market.stub.GetService(query)).service

    told = service.descriptor
    assert (told.name, told.description) == (DESCRIPTOR["name"], DESCRIPTOR["description"])
    assert told.endpoint == DESCRIPTOR["endpoint"]
    assert json.loads(told.interface) == DESCRIPTOR["interface"]
    assert json.loads(told.permission) == DESCRIPTOR["permission"]
    assert service.publisher == market.lab.runtime.identity.did
    assert (service.state, service.height) == ("REGISTERED", result.height)
    assert service.transaction_id == result.transaction_id
    assert await refusal(market.stub.GetService(pb.GetServiceRequest(name="?"))) == not_found
    nul = pb.GetServiceRequest(name="a\x00")
    assert (await refusal(market.stub.GetService(nul)))[1] == "REQUEST_MALFORMED"


async def test_a_name_is_given_once(market: Market) -> None:
    assert (await market.register(DESCRIPTOR)).accepted
    taken = await market.register({**DESCRIPTOR, "endpoint": "https://other.example/"})
    assert taken.code == "SERVICE_NAME_TAKEN"
    await market.lab.project(apply_block)
    (service,) = (await market.stub.ListServices(pb.ListServicesRequest())).services
    assert service.descriptor.endpoint == DESCRIPTOR["endpoint"]


async def test_services_are_listed_by_name_page_by_page(market: Market) -> None:
    names = [f"service-{number:02}" for number in (7, 3, 5, 1, 9)]
    for name in names:
        assert (await market.register({**DESCRIPTOR, "name": name})).accepted
    await market.lab.project(apply_block)
    request, listed = pb.ListServicesRequest(page_size=2), list[str]()
    while True:
        page = await market.stub.ListServices(request)
        listed += [service.descriptor.name for service in page.services]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == sorted(names)


async def test_the_platform_passes_on_registrations_and_nothing_else(market: Market) -> None:
    message = await market.message({}, method="remove_service")
    request = pb.RegisterServiceRequest(transaction=message)  # type: ignore[arg-type]
    assert await refusal(market.stub.RegisterService(request)) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "UNSUPPORTED_OPERATION",
    )
    assert market.lab.node.submissions == 0
    garbage = pb.RegisterServiceRequest()
    garbage.transaction.payload = b"no payload"
    assert await refusal(market.stub.RegisterService(garbage)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "TRANSACTION_MALFORMED",
    )
