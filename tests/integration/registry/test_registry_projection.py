"""The registry's read model over a real market's blocks: a function of the chain."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome
from services.chassis.errors import NotFoundError
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from services.registry import register_store, store
from services.registry.app import MIGRATIONS
from services.registry.consumers import apply_block
from services.registry.handlers import Handlers, Page
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MarketLedger, market_ledger
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab
from tests.unit.contracts.register_market import (
    DATA,
    RequestIdentity,
    dataset,
    loaded_host,
    roster_csv,
)
from tests.unit.proof.proof_keys import Sm2Keys

COLUMNS = (
    *("account", "product_code", "nature", "total", "available", "pledged", "frozen"),
    *("pledged_and_frozen", "confirmed", "restricted_until"),
)
KEYS = Sm2Keys(open_provider())


@pytest.fixture(scope="module")
def basic() -> MarketLedger:
    return market_ledger(KEYS, "market-basic")


@pytest.fixture
async def lab(new_database: NewDatabase, basic: MarketLedger) -> AsyncIterator[Lab]:
    async with open_lab(
        new_database,
        LedgerNode(basic.chain, port=1),
        identity_of(basic.chain, KEYS),
        KEYS.provider,
        service="registry",
        migrations=MIGRATIONS,
    ) as opened:
        yield opened


def handlers(lab: Lab) -> Handlers:
    return Handlers(lab.pool, lab.runtime.client, lab.provider, bytes(32), bytes(16))


async def roster_at(lab: Lab, height: int) -> bytes:
    """The roster as market datasets keep it, read page by page."""
    rows, after = [], ("", "", "")
    while True:
        page = await handlers(lab).list_positions(
            height=height, product_code="", after=after, page_size=7
        )
        assert page.height == height
        rows += page.rows
        if not page.has_more:
            break
        after = page.rows[-1].key
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [getattr(row, name) for name in COLUMNS]
        writer.writerow([str(cell).lower() if isinstance(cell, bool) else cell for cell in cells])
    return text.getvalue().encode()


@pytest.mark.req("N0-19", "N0-17")
async def test_the_roster_at_every_height_equals_an_independent_replay(
    lab: Lab, basic: MarketLedger
) -> None:
    """Goal: the roster at any height. Method: another host executes the same events and its state,
    not its events, gives the roster after each of them."""
    await lab.project(apply_block)
    market = dataset("market-basic")
    host, requests = loaded_host(market, REGISTER_V3), RequestIdentity()
    changes, before = 0, b""
    for event in market.events:
        requests.process(host, REGISTER_V3, event)
        expected = roster_csv(host)
        if expected != before:
            changes, before = changes + 1, expected
            assert await roster_at(lab, basic.heights[event.seq]) == expected, event.seq
    assert changes > 50
    assert before == (DATA / "market-basic/expected/roster.csv").read_bytes()


@pytest.mark.req("N0-19")
async def test_a_height_that_is_not_projected_yet_is_refused(lab: Lab, basic: MarketLedger) -> None:
    await lab.project(apply_block, range(1, 9))
    with pytest.raises(NotFoundError) as refused:
        await roster_at(lab, 9)
    assert refused.value.code == "HEIGHT_NOT_PROJECTED"
    assert await roster_at(lab, 8)


@pytest.mark.req("N0-19")
async def test_a_product_that_is_not_registered_is_said_and_one_without_holders_has_no_rows(
    lab: Lab,
) -> None:
    await lab.project(apply_block)
    registered, height = await lab.pool.fetchrow(  # type: ignore[misc]
        "SELECT product_code, min(from_height) FROM positions GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
    )

    async def of(product_code: str, height: int) -> Page[register_store.PositionRow]:
        return await handlers(lab).list_positions(
            height=height, product_code=product_code, after=("", "", ""), page_size=7
        )

    assert {row.product_code for row in (await of(registered, height)).rows} == {registered}
    for unknown, at in (("NOPE", 0), (registered[:-1], 0), (registered, height - 1)):
        with pytest.raises(NotFoundError) as refused:
            await of(unknown, at)
        assert refused.value.code == "PRODUCT_UNKNOWN"
    await lab.pool.execute(
        "UPDATE positions SET to_height = from_height + 1 WHERE product_code = $1", registered
    )
    assert (await of(registered, 0)).rows == []


async def test_rebuilding_from_the_first_block_gives_the_same_tables(lab: Lab) -> None:
    await lab.project(apply_block)
    first = [
        await lab.rows("positions", "account, product_code, nature, from_height"),
        await lab.rows("operations", "organisation, request_id"),
    ]
    await lab.pool.execute("TRUNCATE positions, operations, projected_blocks")
    await lab.project(apply_block)
    again = [
        await lab.rows("positions", "account, product_code, nature, from_height"),
        await lab.rows("operations", "organisation, request_id"),
    ]
    assert first == again
    assert len(first[0]) > 100
    assert len(first[1]) > 200


@pytest.mark.req("N0-17")
async def test_every_outcome_of_the_dataset_is_kept_by_its_request(
    lab: Lab, basic: MarketLedger
) -> None:
    """A retry adds nothing: its first outcome stays."""
    await lab.project(apply_block)
    with (DATA / "market-basic/expected/results.csv").open() as file:
        expected = {int(row["seq"]): row for row in csv.DictReader(file)}
    organisation = basic.chain.did
    first: dict[str, str] = {}
    for event in basic.market.events:
        code = first.setdefault(event.request_id, expected[event.seq]["code"])
        assert code == expected[event.seq]["code"], "a retry has the first outcome"
        async with lab.pool.acquire() as connection:
            row = await store.find_operation(connection, organisation, event.request_id)
        assert row is not None
        assert row.result.code == code, event.seq
        assert row.result.outcome is (Outcome.REFUSED if code else Outcome.APPLIED)
        assert bool(row.object_id) == (code == "")
    assert len(first) < len(expected), "the dataset holds retries"


async def test_codes_that_bind_nothing_leave_no_row(lab: Lab) -> None:
    """A predecessor that is missing, a request id that is taken, a sender whom nobody knows."""
    chain = market_ledger(KEYS, "market-basic", events_max=1).chain
    lab.node.chain = chain
    body: dict[str, Json] = {"investors": []}
    missing = chain.transaction(
        "register", "put_investors", body, request_id=REQUEST, after=b"x" * 32
    )
    assert chain.execute(missing).receipts[0].code == "PREDECESSOR_MISSING"
    did, chain.did = chain.did, "did:rem:shandong:STRANGER"
    assert chain.call("register", "put_investors", body).code == "SENDER_UNKNOWN"
    chain.did = did
    refused = chain.transaction("register", "put_investors", {"what": 1}, request_id=REQUEST)
    first = chain.execute(refused).receipts[0]
    assert first.code not in ("", "PREDECESSOR_MISSING")
    reused = chain.transaction("register", "put_investors", body, request_id=REQUEST)
    assert chain.execute(reused).receipts[0].code == "REQUEST_ID_REUSED"

    await lab.project(apply_block)

    rows = await lab.rows("operations", "height")
    bound = [row for row in rows if row["request_id"] == REQUEST]
    assert [(row["code"], row["transaction_id"]) for row in bound] == [
        (first.code, first.transaction_id)
    ]
    assert {"PREDECESSOR_MISSING", "SENDER_UNKNOWN", "REQUEST_ID_REUSED"}.isdisjoint(
        row["code"] for row in rows
    )


REQUEST = "7b0f6a0e-52a5-4b6e-9a5f-0c3f6f1f0001"
