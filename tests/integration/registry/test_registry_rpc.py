"""The registry over gRPC as an operator's system sees it: signed calls to a guarded server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from google.rpc import status_pb2

from guqiao.consensus.v1 import ledger_pb2
from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from guqiao_sdk.client.transactions import (
    Identity,
    build_transaction,
    result_from_message,
    transaction_to_message,
)
from guqiao_sdk.errors import error_from_status
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis import outbox
from services.chassis.bus.port import Topic
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.register.contract import RegisterContract
from services.registry import register_store
from services.registry.api import POLICIES, RegistryServicer
from services.registry.app import MIGRATIONS
from services.registry.consumers import apply_block
from services.registry.events import OPERATION_TOPIC
from services.registry.handlers import Handlers
from services.registry.register_store import PositionRow
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MARKET_ROLES
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, refusal, wait_until
from tests.unit.contracts.register_market import dataset, identity_digest
from tests.unit.proof.proof_keys import Replicas, Sm2Keys
from tests.unit.xchain.ledger_chain import LedgerChain

if TYPE_CHECKING:
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
BASIC = ("register_company", "open_account", "initial_registration", "transfer")


KEYS = Sm2Keys(open_provider())
OTHER = "did:rem:shandong:91370000MA0000001B"
MARKET = dataset("market-basic")
IDENTITY_KEY, BODY_KEY = bytes(range(32)), bytes(range(16))


@dataclass
class Desk:
    """The service, and two organisations that call it."""

    lab: Lab
    handlers: Handlers
    port: int
    operator: Identity
    other: Identity

    def stub(self, caller: Identity) -> RegistryServiceAsyncStub:
        return RegistryServiceStub(self.lab.channel(self.port, caller))

    def operations(self) -> Iterator[tuple[str, dict[str, Json]]]:
        """Method and body of calls that the register takes, reference data first."""
        yield from MARKET.reference_calls(identity_digest)

    def transaction(
        self, method: str, body: Mapping[str, Json], request_id: str = ""
    ) -> SignedTransaction:
        position = self.lab.runtime.client._position
        assert position is not None
        return build_transaction(
            self.lab.provider,
            self.operator,
            position[1],
            contract="register",
            method=method,
            body=body,
            request_id=request_id or str(uuid4()),
        )


@asynccontextmanager
async def open_desk(new_database: NewDatabase) -> AsyncIterator[Desk]:
    record = IdentityRecord(
        OTHER,
        OTHER,
        frozenset({"observer"}),
        True,
        {"key-1": KeyRecord(KEYS.public_key(OTHER), 0, 1 << 52, False)},
    )
    chain = LedgerChain(
        "shandong",
        KEYS,
        destination="csrc",
        remotes={"csrc": Replicas(KEYS, "csrc").set.hash()},
        roles=MARKET_ROLES,
        contracts=[RegisterContract(version=98, operations=BASIC)],
        others=[record],
        historic_import=True,
    )
    node = LedgerNode(chain)
    await node.start()
    operator, other = identity_of(chain, KEYS), identity_of(chain, KEYS, OTHER)
    try:
        async with open_lab(
            new_database, node, operator, KEYS.provider, service="registry", migrations=MIGRATIONS
        ) as lab:
            await lab.runtime.client.latest()
            handlers = Handlers(lab.pool, lab.runtime.client, lab.provider, IDENTITY_KEY, BODY_KEY)
            servicer = RegistryServicer(handlers)
            add = add_RegistryServiceServicer_to_server
            async with lab.serving(POLICIES, add, servicer) as port:
                yield Desk(lab, handlers, port, operator, other)
    finally:
        await node.stop()


@pytest.fixture
async def desk(new_database: NewDatabase) -> AsyncIterator[Desk]:
    async with open_desk(new_database) as opened:
        yield opened


@pytest.mark.req("G2-20-1")
async def test_an_operation_reaches_the_chain_once_however_often_it_is_sent(desk: Desk) -> None:
    """Unary: the same transaction again has the same result; its announcement is in the outbox."""
    method, body = next(desk.operations())
    transaction = desk.transaction(method, body)
    request = pb.SubmitOperationRequest(transaction=transaction_to_message(transaction))

    first = await desk.stub(desk.operator).SubmitOperation(request)
    again = await desk.stub(desk.operator).SubmitOperation(request)

    assert first.result == again.result
    assert result_from_message(first.result).outcome is Outcome.APPLIED
    assert desk.lab.node.chain.header.height == 1
    announced = await desk.lab.pool.fetch("SELECT topic, payload, headers FROM outbox")
    assert {(row["topic"], row["payload"]) for row in announced} == {
        (OPERATION_TOPIC, transaction.id())
    }
    headers = json.loads(announced[0]["headers"])
    spans = {f"{span.context.trace_id:032x}" for span in desk.lab.spans.get_finished_spans()}
    assert headers["traceparent"].split("-")[1] in spans
    assert headers["event-id"] == transaction.id().hex()


@pytest.mark.req("G2-20-1")
async def test_a_stream_answers_every_item_and_announces_in_batches(desk: Desk) -> None:
    """Two hundred operations; one sent twice, one not built, two that are no transactions."""
    calls = list(desk.operations())
    first = [desk.transaction(method, body) for method, body in calls]
    last = first.pop()
    items = [
        *map(transaction_to_message, [*first, first[0], desk.transaction("no_such_operation", {})]),
        ledger_pb2.Transaction(),
        ledger_pb2.Transaction(payload=b"no payload"),
        transaction_to_message(last),
    ]

    async def requests() -> AsyncIterator[pb.SubmitOperationsRequest]:
        for number, transaction in enumerate(items):
            yield pb.SubmitOperationsRequest(item=number, transaction=transaction)

    answers: dict[int, pb.SubmitOperationsResponse] = {}
    async for response in desk.stub(desk.operator).SubmitOperations(requests()):
        assert response.item not in answers, "an item is answered once"
        answers[response.item] = response

    assert sorted(answers) == list(range(len(items)))
    for number in range(len(first)):
        assert result_from_message(answers[number].result).accepted, calls[number][0]
    assert answers[len(first)].result == answers[0].result
    refused = [
        error_from_status(status_pb2.Status.FromString(answers[number].error)).code
        for number in range(len(first) + 1, len(items) - 1)
    ]
    assert refused == ["UNSUPPORTED_OPERATION", "TRANSACTION_MALFORMED", "TRANSACTION_MALFORMED"]
    assert result_from_message(answers[len(items) - 1].result).accepted, "the stream went on"
    rows = await desk.lab.pool.fetch("SELECT payload, xmin FROM outbox ORDER BY position")
    assert [row["payload"] for row in rows if row["payload"] != first[0].id()] == [
        transaction.id() for transaction in [*first[1:], last]
    ]


async def test_what_is_announced_reaches_the_bus_at_once(desk: Desk) -> None:
    """The relay is told of a commit: with an hour between its polls nothing waits."""
    await desk.lab.runtime.bus.ensure_topics([Topic(OPERATION_TOPIC)])
    relaying = asyncio.ensure_future(
        outbox.relay(
            desk.lab.pool,
            desk.lab.runtime.bus,
            appended=desk.handlers.announced,
            poll_seconds=3_600,
        )
    )
    try:
        method, body = next(desk.operations())
        request = pb.SubmitOperationRequest(
            transaction=transaction_to_message(desk.transaction(method, body))
        )
        await desk.stub(desk.operator).SubmitOperation(request)

        async def empty() -> bool:
            return bool(await desk.lab.pool.fetchval("SELECT count(*) FROM outbox") == 0)

        await wait_until("the outbox is empty", empty)
    finally:
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)


async def test_operations_that_the_chain_does_not_have_are_unimplemented(desk: Desk) -> None:
    stub = desk.stub(desk.operator)
    for method in ("capital_increase", "no_such_operation"):
        request = pb.SubmitOperationRequest(
            transaction=transaction_to_message(desk.transaction(method, {}))
        )
        code, name = await refusal(stub.SubmitOperation(request))
        assert (code, name) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED_OPERATION")
    assert desk.lab.node.submissions == 0
    assert await desk.lab.pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_chain_that_is_away_is_said_to_be_so_and_comes_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C23: a bounded error with the chain's code, nothing half done, and recovery unaided."""
    monkeypatch.setattr("guqiao_sdk.client.chain.CALL_SECONDS", 2.0)
    monkeypatch.setattr("guqiao_sdk.client.reads.CALL_SECONDS", 2.0)
    stub = desk.stub(desk.operator)
    await stub.GetStatus(pb.GetStatusRequest())
    await desk.lab.node.stop()
    code, name = await refusal(stub.GetStatus(pb.GetStatusRequest(), timeout=25))
    assert (code, name) == (grpc.StatusCode.UNAVAILABLE, "CHAIN_UNAVAILABLE")
    await desk.lab.node.start()
    status = await stub.GetStatus(pb.GetStatusRequest())
    assert status.chain_id == "shandong"


async def test_an_operation_is_told_to_its_own_organisation_only(desk: Desk) -> None:
    method, body = next(desk.operations())
    request_id = str(uuid4())
    message = transaction_to_message(desk.transaction(method, body, request_id))
    operator, other = desk.stub(desk.operator), desk.stub(desk.other)
    await operator.SubmitOperation(pb.SubmitOperationRequest(transaction=message))
    query = pb.GetOperationRequest(request_id=request_id)
    unknown = (grpc.StatusCode.NOT_FOUND, "TRANSACTION_UNKNOWN")
    assert await refusal(operator.GetOperation(query)) == unknown, "it is not projected yet"
    await desk.lab.project(apply_block)

    answer = await operator.GetOperation(query)

    assert answer.method == method
    assert result_from_message(answer.result).accepted
    assert await refusal(other.GetOperation(query)) == unknown
    nobody = pb.GetOperationRequest(request_id=str(uuid4()))
    assert await refusal(operator.GetOperation(nobody)) == unknown
    nul = pb.GetOperationRequest(request_id="a\x00b")
    assert await refusal(operator.GetOperation(nul)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_MALFORMED",
    )


GARBAGE = [
    "?",
    "=====",
    "Zm9v",
    "汉字",
    base64.urlsafe_b64encode(b"5").decode(),
    base64.urlsafe_b64encode(b"null").decode(),
    base64.urlsafe_b64encode(b"[" * 700).decode(),
    base64.urlsafe_b64encode(b'[1,"","a","b"]').decode(),
    base64.urlsafe_b64encode(b'[0,"","a","b","c"]').decode(),
    base64.urlsafe_b64encode(b'[true,"","a","b","c"]').decode(),
    base64.urlsafe_b64encode(b'[1,"other product","a","b","c"]').decode(),
    base64.urlsafe_b64encode(b'[1,"","\\u0000","b","c"]').decode(),
    base64.urlsafe_b64encode(b'[1,"","\\ud800","b","c"]').decode(),
    "A" * 5_000,
]


async def test_a_page_token_that_nobody_gave_is_refused(desk: Desk) -> None:
    stub = desk.stub(desk.operator)
    for token in GARBAGE:
        request = pb.ListPositionsRequest(page_token=token)
        refused = grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"
        assert await refusal(stub.ListPositions(request)) == refused, token[:40]


async def test_pages_stay_at_the_height_of_the_first_one(desk: Desk) -> None:
    """Blocks that come between two pages change neither what is on them nor their height."""
    await submit_events(desk, 60)
    stub = desk.stub(desk.operator)
    whole = await stub.ListPositions(pb.ListPositionsRequest())
    assert len(whole.positions) > 4
    pinned = await stub.ListPositions(pb.ListPositionsRequest(page_size=2))
    rows = list(pinned.positions)
    await submit_events(desk, 120, first=61)
    later = await stub.ListPositions(pb.ListPositionsRequest())
    assert later.height > whole.height
    assert list(later.positions) != list(whole.positions)
    token = pinned.next_page_token
    while token:
        page = await stub.ListPositions(pb.ListPositionsRequest(page_size=2, page_token=token))
        assert page.height == whole.height
        rows += page.positions
        token = page.next_page_token
    assert rows == list(whole.positions)


async def test_pages_of_long_names_stay_within_a_message_and_hold_every_row(desk: Desk) -> None:
    """Names that no index and no page of the usual size can hold: 30 of them have 6 MB."""
    code = "".join(f"{number:08x}" for number in range(25_000))
    keys = [(f"Q{number % 3:09}", code + "长" * (number // 3), "51") for number in range(30)]
    rows = [PositionRow(*key, 1, 9, 9, 0, 0, 0, True, None) for key in keys]
    async with desk.lab.pool.acquire() as connection:
        await register_store.insert_positions(connection, rows)
        await register_store.end_positions(connection, keys[:1], 2)
        await register_store.insert_positions(
            connection, [replace(rows[0], from_height=2, total=10)]
        )
    for _ in range(2):
        desk.lab.node.chain.execute()
    await desk.lab.project(apply_block)
    stub = desk.stub(desk.operator)
    found: list[pb.Position] = []
    pages, request = 0, pb.ListPositionsRequest()
    while True:
        page = await stub.ListPositions(request)
        found, pages = [*found, *page.positions], pages + 1
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [(row.account, row.product_code, row.nature) for row in found] == sorted(keys)
    assert [row.total for row in found] == [10] + [9] * 29
    assert pages > 4
    request = pb.ListPositionsRequest(product_code=keys[4][1], page_size=1)
    one = await stub.ListPositions(request)
    assert [row.account for row in one.positions] == [keys[3][0]]
    request.page_size, request.page_token = 2, one.next_page_token
    rest = await stub.ListPositions(request)
    assert [row.account for row in rest.positions] == [keys[4][0], keys[5][0]]
    assert rest.next_page_token == ""
    request.product_code = "other"
    refused = grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"
    assert await refusal(stub.ListPositions(request)) == refused


async def test_an_investor_with_names_of_any_length_is_kept_once(desk: Desk) -> None:
    stub, long = desk.stub(desk.operator), "".join(f"{number:08x}" for number in range(10_000))
    kept = investor(investor_ref=long, name="长" * 100_000)
    request = pb.PutInvestorsRequest(investors=[kept], as_of="2025-09-01")
    assert await stub.PutInvestors(request) == await stub.PutInvestors(request)
    request.investors[0].name += "长"
    assert (await refusal(stub.PutInvestors(request)))[1] == "REFERENCE_CONFLICT"


async def submit_events(desk: Desk, last: int, first: int = 1) -> None:
    """Put events of the dataset on the chain, and project all of it."""
    chain = desk.lab.node.chain
    if first == 1:
        for method, body in desk.operations():
            chain.call("register", method, body)
    for event in MARKET.events:
        if first <= event.seq <= last:
            chain.execute(
                chain.transaction(
                    "register",
                    event.type,
                    event.body,
                    request_id=event.request_id,
                    business_time=event.time,
                )
            )
    await desk.lab.pool.execute("TRUNCATE positions, operations, projected_blocks")
    await desk.lab.project(apply_block)


def investor(**changed: str) -> pb.Investor:
    given = {
        "investor_ref": "I-1",
        "investor_code": "Q370000000000001",
        "name": "王小明",
        "id_type": "resident_id",
        "id_number": "110101199003070011",
    }
    return pb.Investor(**(given | changed))


@pytest.mark.req("G2-17-7", "G2-17-8")
async def test_an_investors_body_is_kept_encrypted_and_only_a_keyed_digest_leaves(
    desk: Desk,
) -> None:
    """Goal: neither name nor number in any table, outbox and positions included. The whole database
    is dumped as text and bytes and searched."""
    stub = desk.stub(desk.operator)
    request = pb.PutInvestorsRequest(investors=[investor()], as_of="2025-09-01")
    answer = await stub.PutInvestors(request)
    again = await stub.PutInvestors(request)
    assert answer == again
    (statement,) = answer.statements
    assert len(bytes.fromhex(statement.identity_digest)) == 32
    assert "110101199003070011" not in str(answer)

    tables = await desk.lab.pool.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    assert len(tables) > 5
    dump = b""
    for table in tables:
        for row in await desk.lab.pool.fetch(f"SELECT * FROM {table['table_name']}"):
            for value in row.values():
                dump += value if isinstance(value, bytes) else str(value).encode()
    assert b"I-1" in dump, "the dump holds the row"
    for secret in ("王小明", "110101199003070011", "19900307"):
        assert secret.encode() not in dump

    (kept,) = await desk.lab.rows("investor_bodies", "investor_ref")
    opened = desk.lab.provider.sm4_gcm_decrypt(BODY_KEY, kept["nonce"], kept["sealed"], b"I-1")
    assert "王小明".encode() in opened


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    "changed", [{"name": "王大明"}, {"id_number": "11010119900307002X"}, {"id_type": "uscc"}]
)
async def test_the_same_reference_with_other_data_is_a_conflict(
    desk: Desk, changed: dict[str, str]
) -> None:
    stub = desk.stub(desk.operator)
    await stub.PutInvestors(pb.PutInvestorsRequest(investors=[investor()], as_of="2025-09-01"))
    before = await desk.lab.rows("investor_bodies", "investor_ref")
    other = pb.PutInvestorsRequest(
        investors=[
            investor(investor_ref="I-2", investor_code="Q370000000000002"),
            investor(**changed),
        ],
        as_of="2025-09-01",
    )
    assert await refusal(stub.PutInvestors(other)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REFERENCE_CONFLICT",
    )
    assert await desk.lab.rows("investor_bodies", "investor_ref") == before, "all or nothing"


async def test_a_reference_may_be_any_text_the_empty_one_too(desk: Desk) -> None:
    stub = desk.stub(desk.operator)
    request = pb.PutInvestorsRequest(investors=[investor(investor_ref="")], as_of="2025-09-01")
    (statement,) = (await stub.PutInvestors(request)).statements
    assert statement.investor_ref == ""


async def test_an_investor_code_that_another_reference_has_is_a_conflict(desk: Desk) -> None:
    stub = desk.stub(desk.operator)
    await stub.PutInvestors(pb.PutInvestorsRequest(investors=[investor()], as_of="2025-09-01"))
    other = pb.PutInvestorsRequest(investors=[investor(investor_ref="I-2")], as_of="2025-09-01")
    assert await refusal(stub.PutInvestors(other)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REFERENCE_CONFLICT",
    )


async def test_a_date_that_is_none_is_refused(desk: Desk) -> None:
    stub = desk.stub(desk.operator)
    for as_of in ("", "2025-13-01", "2025-02-30", "20250901", "2025-09-01\n"):
        request = pb.PutInvestorsRequest(investors=[investor()], as_of=as_of)
        refused = grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED"
        assert await refusal(stub.PutInvestors(request)) == refused, as_of


async def test_bodies_and_rosters_are_for_those_who_may(desk: Desk) -> None:
    stub = desk.stub(desk.other)
    request = pb.PutInvestorsRequest(investors=[investor()], as_of="2025-09-01")
    assert (await refusal(stub.PutInvestors(request)))[0] is grpc.StatusCode.PERMISSION_DENIED
    too_many = pb.PutInvestorsRequest(investors=[investor()] * 201, as_of="2025-09-01")
    assert await refusal(desk.stub(desk.operator).PutInvestors(too_many)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_MALFORMED",
    )
