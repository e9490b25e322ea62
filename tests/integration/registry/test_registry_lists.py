"""Freezes, pledges and payable lists in the read model and over gRPC, at every height."""

from __future__ import annotations

import base64
import csv
from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING

import grpc
import pytest

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from guqiao_sdk.gm.provider import open_provider
from services.chassis.errors import NotFoundError
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from services.registry import register_store
from services.registry.api import POLICIES, RegistryServicer
from services.registry.app import MIGRATIONS
from services.registry.consumers import apply_block
from services.registry.domain.encumbrances import status_of
from services.registry.handlers import Handlers
from services.registry.register_store import DividendRow, EncumbranceRow
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MarketLedger, market_ledger
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, refusal
from tests.unit.contracts.register_events import (
    DIVIDEND_HEADER,
    ENCUMBRANCE_HEADER,
    dividends_csv,
    encumbrances_csv,
    recorded,
)
from tests.unit.contracts.register_market import DATA, RequestIdentity, as_csv, dataset, loaded_host
from tests.unit.proof.proof_keys import Sm2Keys

if TYPE_CHECKING:
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

KEYS = Sm2Keys(open_provider())
STRANGER = "did:rem:shandong:91370000MA0000001B"
EXPECTED = DATA / "market-tiny" / "expected"
ORDER = {
    "encumbrances": "kind, number, from_height",
    "dividends": "height, position",
    "dividend_rows": "height, position, line",
}


def ledger_of(block_events: int) -> MarketLedger:
    key = KeyRecord(KEYS.public_key(STRANGER), 0, 1 << 52, False)
    stranger = IdentityRecord(STRANGER, STRANGER, frozenset({"reporter"}), True, {"key-1": key})
    return market_ledger(
        KEYS,
        "market-tiny",
        contract=REGISTER_V3,
        others=[stranger],
        block_events=block_events,
    )


@pytest.fixture(scope="module", params=[1, 7], ids=["one event a block", "seven events a block"])
def tiny(request: pytest.FixtureRequest) -> MarketLedger:
    return ledger_of(request.param)


@pytest.fixture
async def lab(new_database: NewDatabase, tiny: MarketLedger) -> AsyncIterator[Lab]:
    node = LedgerNode(tiny.chain)
    await node.start()
    try:
        async with open_lab(
            new_database,
            node,
            identity_of(tiny.chain, KEYS),
            KEYS.provider,
            service="registry",
            migrations=MIGRATIONS,
        ) as opened:
            yield opened
    finally:
        await node.stop()


@pytest.fixture
async def port(lab: Lab) -> AsyncIterator[int]:
    """The service, with the whole dataset in its read model."""
    await lab.project(apply_block)
    await lab.runtime.client.latest()
    add = add_RegistryServiceServicer_to_server
    async with lab.serving(POLICIES, add, RegistryServicer(handlers(lab))) as opened:
        yield opened


def handlers(lab: Lab) -> Handlers:
    return Handlers(lab.pool, lab.runtime.client, lab.provider, bytes(32), bytes(16))


def stub_of(lab: Lab, port: int, did: str = "") -> RegistryServiceAsyncStub:
    caller = identity_of(lab.node.chain, KEYS, *([did] if did else []))
    return RegistryServiceStub(lab.channel(port, caller))


async def encumbrances_at(lab: Lab, height: int, product_code: str = "") -> list[EncumbranceRow]:
    """Every page of five."""
    rows: list[EncumbranceRow] = []
    after = ("", "")
    while True:
        page = await handlers(lab).list_encumbrances(
            height=height, product_code=product_code, after=after, page_size=5
        )
        rows += page.rows
        if not page.has_more:
            return rows
        after = page.rows[-1].key


async def dividends_at(lab: Lab, height: int, product_code: str = "") -> list[DividendRow]:
    """Every page of four."""
    rows: list[DividendRow] = []
    after = (0, 0, 0)
    while True:
        page = await handlers(lab).list_dividends(
            height=height, product_code=product_code, after=after, page_size=4
        )
        rows += page.rows
        if not page.has_more:
            return rows
        after = page.rows[-1].key


def written(header: str, rows: Sequence[EncumbranceRow] | Sequence[DividendRow]) -> bytes:
    """Rows as market datasets keep them."""
    lines = []
    for row in rows:
        members = {name: getattr(row, name) for name in row.__dataclass_fields__}
        if isinstance(row, EncumbranceRow):
            members["status"] = status_of(effective=row.effective, waiting=row.waiting)
        lines.append([members[name] for name in header.split(",")])
    return as_csv(header, lines)


@pytest.mark.req("N0-17", "N0-19", "N0-20")
async def test_encumbrances_and_dividends_at_every_height_equal_an_independent_replay(
    lab: Lab, tiny: MarketLedger
) -> None:
    """Another host executes the same events; its state gives the encumbrances at the end of each
    block, and its receipts the payable lists so far."""
    await lab.project(apply_block)
    market = dataset("market-tiny")
    host, requests = loaded_host(market, REGISTER_V3), RequestIdentity()
    compared, before = 0, (b"", b"")
    for event in market.events:
        requests.process(host, REGISTER_V3, event)
        height = tiny.heights[event.seq]
        if tiny.heights.get(event.seq + 1) == height:
            continue  # There is more in this block.
        expected = encumbrances_csv(recorded(host)), dividends_csv(requests.outcomes)
        if expected != before:
            compared, before = compared + 1, expected
            encumbrances = await encumbrances_at(lab, height)
            assert written(ENCUMBRANCE_HEADER, encumbrances) == expected[0], event.seq
            dividends = await dividends_at(lab, height)
            assert written(DIVIDEND_HEADER, dividends) == expected[1], event.seq
    assert compared > 20
    assert before[0] == (EXPECTED / "encumbrances.csv").read_bytes()
    assert before[1] == (EXPECTED / "dividends.csv").read_bytes()


async def test_rebuilding_gives_the_same_rows_and_a_block_again_changes_nothing(lab: Lab) -> None:
    await lab.project(apply_block)
    first = {table: await lab.rows(table, order) for table, order in ORDER.items()}
    last = max(lab.node.chain.blocks)
    await lab.project(apply_block, [last])
    assert {table: await lab.rows(table, order) for table, order in ORDER.items()} == first
    await lab.pool.execute(
        "TRUNCATE encumbrances, dividends, dividend_rows, positions, operations, projected_blocks"
    )
    await lab.project(apply_block)
    assert {table: await lab.rows(table, order) for table, order in ORDER.items()} == first
    assert len(first["encumbrances"]) > 40
    assert len(first["dividends"]) > 5


@pytest.mark.req("N0-20")
async def test_the_rows_of_a_dividend_add_up_to_the_declared_amount(
    lab: Lab, tiny: MarketLedger
) -> None:
    await lab.project(apply_block)
    with (EXPECTED / "results.csv").open(encoding="utf-8") as file:
        accepted = {int(row["seq"]) for row in csv.DictReader(file) if not row["code"]}
    declared = {
        event.body["dividend_no"]: event.body["per_share_li"]
        for event in tiny.market.events
        if event.type == "dividend" and event.seq in accepted
    }
    sums: dict[str, tuple[int, int]] = {}
    for row in await dividends_at(lab, 0):
        shares, amount = sums.get(row.dividend_no, (0, 0))
        sums[row.dividend_no] = shares + (row.shares or 0), amount + row.amount_fen
    assert sums.keys() == declared.keys()
    for number, (shares, amount) in sums.items():
        per_share = declared[number]
        assert isinstance(per_share, int)
        assert amount == (shares * per_share + 5) // 10


async def test_lists_of_one_product_hold_its_rows_and_an_unknown_product_is_said(lab: Lab) -> None:
    await lab.project(apply_block)
    code = "SD900003G.EMXXXR2501"
    encumbrances, dividends = await encumbrances_at(lab, 0), await dividends_at(lab, 0)
    assert {row.product_code for row in encumbrances} > {code}
    of_code = [row for row in encumbrances if row.product_code == code]
    assert await encumbrances_at(lab, 0, code) == of_code
    rows_of_code = [row for row in dividends if row.product_code == code]
    assert await dividends_at(lab, 0, code) == rows_of_code
    quiet = {row["product_code"] for row in await lab.rows("positions", "from_height")} - {
        row.product_code for row in encumbrances
    }
    assert await encumbrances_at(lab, 0, min(quiet)) == []
    for read in (encumbrances_at(lab, 0, "NOPE"), dividends_at(lab, 0, "NOPE")):
        with pytest.raises(NotFoundError) as refused:
            await read
        assert refused.value.code == "PRODUCT_UNKNOWN"
    projected = max(lab.node.chain.blocks)
    for later in (encumbrances_at(lab, projected + 1), dividends_at(lab, projected + 1)):
        with pytest.raises(NotFoundError) as refused:
            await later
        assert refused.value.code == "HEIGHT_UNKNOWN"


@pytest.mark.req("N0-19", "N0-20")
async def test_pages_over_the_wire_hold_every_row_of_the_height_of_the_first(
    lab: Lab, port: int
) -> None:
    stub = stub_of(lab, port)
    found: list[pb.Encumbrance] = []
    asked = pb.ListEncumbrancesRequest(page_size=3)
    while True:
        page = await stub.ListEncumbrances(asked)
        found += page.encumbrances
        assert page.height == max(lab.node.chain.blocks)
        if not page.next_page_token:
            break
        asked.page_token = page.next_page_token
    names = ENCUMBRANCE_HEADER.split(",")
    rows = [[getattr(row, name) for name in names] for row in found]
    assert as_csv(ENCUMBRANCE_HEADER, rows) == (EXPECTED / "encumbrances.csv").read_bytes()

    lines: list[pb.DividendRow] = []
    wanted = pb.ListDividendsRequest(page_size=3)
    while True:
        answer = await stub.ListDividends(wanted)
        lines += answer.rows
        if not answer.next_page_token:
            break
        wanted.page_token = answer.next_page_token
    with (EXPECTED / "dividends.csv").open(encoding="utf-8", newline="") as file:
        expected = [row["shares"] for row in csv.DictReader(file)]
    assert [str(line.shares) if line.HasField("shares") else "" for line in lines] == expected


async def test_a_token_of_another_list_and_one_that_nobody_gave_are_refused(
    lab: Lab, port: int
) -> None:
    stub = stub_of(lab, port)
    code = "SD900003G.EMXXXR2501"
    one = await stub.ListEncumbrances(pb.ListEncumbrancesRequest(page_size=1))
    other = await stub.ListDividends(pb.ListDividendsRequest(page_size=1, product_code=code))
    garbage = [
        "?",
        one.next_page_token[:-4],
        *map(token, ['[1,"","freeze"]', '[0,"","freeze","F1"]', '[1,"","freeze","\\u0000"]']),
        *map(token, ['[1,"",1,0,-1]', '[1,"",1,0,true]', f'[1,"",{2**63},0,1]', '[1,"",1,0,"1"]']),
    ]
    refused = grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"
    for text in [*garbage, other.next_page_token]:
        asked = pb.ListEncumbrancesRequest(page_token=text)
        assert await refusal(stub.ListEncumbrances(asked)) == refused, text
    for text in [*garbage, one.next_page_token, other.next_page_token]:
        wanted = pb.ListDividendsRequest(page_token=text)
        assert await refusal(stub.ListDividends(wanted)) == refused, text
    wanted = pb.ListDividendsRequest(page_token=other.next_page_token, product_code=code)
    assert len((await stub.ListDividends(wanted)).rows) > 1


def token(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode()


async def test_only_readers_of_the_register_are_shown_what_binds_shares(
    lab: Lab, port: int
) -> None:
    stub = stub_of(lab, port, STRANGER)
    denied = grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"
    assert await refusal(stub.ListEncumbrances(pb.ListEncumbrancesRequest())) == denied
    assert await refusal(stub.ListDividends(pb.ListDividendsRequest())) == denied


async def test_pages_of_long_names_stay_within_a_message_and_hold_every_row(
    lab: Lab, port: int
) -> None:
    """Numbers that no index and no page of the usual size can hold."""
    code = "".join(f"{number:08x}" for number in range(25_000))
    rows = [
        EncumbranceRow("pledge", code + f"{number:03}", 1, "Q1", code, "51", 9, 9, 0)
        for number in range(12)
    ]
    dividend = [
        DividendRow(1, 0, line, code, code, "Q1", "51", 5, 5, "PAYABLE") for line in range(1, 13)
    ]
    async with lab.pool.acquire() as connection:
        await connection.execute("TRUNCATE encumbrances, dividends, dividend_rows")
        await register_store.insert_encumbrances(connection, rows)
        await register_store.insert_dividend(connection, dividend)
    stub = stub_of(lab, port)
    numbers: list[str] = []
    pages, asked = 0, pb.ListEncumbrancesRequest()
    while True:
        page = await stub.ListEncumbrances(asked)
        numbers += [row.number for row in page.encumbrances]
        pages += 1
        if not page.next_page_token:
            break
        asked.page_token = page.next_page_token
    assert numbers == [row.number for row in rows]
    assert pages > 4
    first = await stub.ListDividends(pb.ListDividendsRequest())
    assert 1 <= len(first.rows) < 4
    assert first.next_page_token
    assert [astuple(row) for row in await dividends_at(lab, 0)] == [*map(astuple, dividend)]
