"""Corporate actions as an operator's system submits them: over gRPC, with two signers, and then in
the read model at every height.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest

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
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.register.contract import CORPORATE_ACTIONS, REGISTER_V5
from services.registry.api import POLICIES, RegistryServicer
from services.registry.app import MIGRATIONS
from services.registry.consumers import apply_block
from services.registry.handlers import Handlers
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MarketLedger, market_ledger
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab
from tests.unit.contracts.action_market import CHECKER, actions_on
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_events import ENCUMBRANCE_HEADER, encumbrances_csv, recorded
from tests.unit.contracts.register_market import (
    RequestIdentity,
    as_csv,
    dataset,
    loaded_host,
    roster_csv,
)
from tests.unit.proof.proof_keys import Sm2Keys

KEYS = Sm2Keys(open_provider())
MAKER_DID = "did:rem:shandong:91370000MA0000000X"
CHECKER_DID = "did:rem:shandong:91370000MA0000001B"
ROSTER_HEADER = (
    "account,product_code,nature,total,available,pledged,frozen,pledged_and_frozen,"
    "confirmed,restricted_until"
)


@dataclass
class Desk:
    """The service on a market after its dataset, and who signs."""

    lab: Lab
    port: int
    maker: Identity
    checker: Identity

    async def submit(
        self, method: str, body: Mapping[str, Json], time: str, *, checked: bool = True
    ) -> tuple[str, int]:
        """The refusal's code, empty where there is none, and the height."""
        position = self.lab.runtime.client._position
        assert position is not None
        transaction = build_transaction(
            self.lab.provider,
            self.maker,
            position[1],
            contract="register",
            method=method,
            body=body,
            checker=self.checker if checked else None,
            request_id=str(uuid4()),
            business_time=time,
        )
        request = pb.SubmitOperationRequest(transaction=transaction_to_message(transaction))
        stub = RegistryServiceStub(self.lab.channel(self.port, self.maker))
        result = result_from_message((await stub.SubmitOperation(request)).result)
        return result.code or "", result.height

    async def encumbrances(self, height: int) -> bytes:
        stub = RegistryServiceStub(self.lab.channel(self.port, self.maker))
        request = pb.ListEncumbrancesRequest(height=height, page_size=1_000)
        rows = (await stub.ListEncumbrances(request)).encumbrances
        names = ENCUMBRANCE_HEADER.split(",")
        return as_csv(ENCUMBRANCE_HEADER, [[getattr(row, name) for name in names] for row in rows])

    async def roster(self, height: int) -> bytes:
        handlers = Handlers(
            self.lab.pool, self.lab.runtime.client, self.lab.provider, bytes(32), bytes(16)
        )
        page = await handlers.list_positions(
            height=height, product_code="", after=("", "", ""), page_size=1_000
        )
        assert not page.has_more
        rows = []
        for row in page.rows:
            cells = [getattr(row, name) for name in ROSTER_HEADER.split(",")]
            rows.append([str(cell).lower() if isinstance(cell, bool) else cell for cell in cells])
        return as_csv(ROSTER_HEADER, rows)


def market_with_checker() -> MarketLedger:
    key = KeyRecord(KEYS.public_key(CHECKER_DID), 0, 1 << 52, False)
    roles = frozenset({"operator_checker"})
    second = IdentityRecord(CHECKER_DID, MAKER_DID, roles, True, {"key-1": key})
    return market_ledger(KEYS, "market-tiny", contract=REGISTER_V5, others=[second])


@pytest.fixture
async def desk(new_database: NewDatabase) -> AsyncIterator[Desk]:
    chain = market_with_checker().chain
    node = LedgerNode(chain)
    await node.start()
    maker = identity_of(chain, KEYS)
    checker = identity_of(chain, KEYS, CHECKER_DID, chain.did)
    try:
        async with open_lab(
            new_database, node, maker, KEYS.provider, service="registry", migrations=MIGRATIONS
        ) as lab:
            await lab.project(apply_block)
            await lab.runtime.client.latest()
            handlers = Handlers(lab.pool, lab.runtime.client, lab.provider, bytes(32), bytes(16))
            add = add_RegistryServiceServicer_to_server
            async with lab.serving(POLICIES, add, RegistryServicer(handlers)) as port:
                yield Desk(lab, port, maker, checker)
    finally:
        await node.stop()


def replayed() -> tuple[MemoryHost, str]:
    """Another host that executed the dataset, and the time of its last event."""
    market = dataset("market-tiny")
    host, requests = loaded_host(market, REGISTER_V5), RequestIdentity()
    for event in market.events:
        requests.process(host, REGISTER_V5, event)
    host.second_party = CHECKER
    return host, market.events[-1].time


@pytest.mark.req("N0-17", "N0-19", "N0-20")
async def test_actions_reach_the_chain_with_two_signers_and_the_read_model_at_every_height(
    desk: Desk,
) -> None:
    """Another host executes the same actions; its state, not its events, is what the read model
    has to say at each height, those before the action included."""
    host, time = replayed()
    seen = {max(desk.lab.node.chain.blocks): (roster_csv(host), encumbrances_csv(recorded(host)))}
    for method, body in actions_on(host, time[:10]):
        assert await desk.submit(method, body, time, checked=False) == (
            "CHECKER_MISSING",
            max(desk.lab.node.chain.blocks),
        )
        code, height = await desk.submit(method, body, time)
        assert code == "", method
        assert host.run(REGISTER_V5, method, body, time=time).code is None
        await desk.lab.project(apply_block, range(max(seen) + 1, height + 1))
        seen[height] = roster_csv(host), encumbrances_csv(recorded(host))
    assert len({roster for roster, _ in seen.values()}) == 1 + len(CORPORATE_ACTIONS)
    assert len({bound for _, bound in seen.values()}) > 3, "encumbrances grow, too"
    for height, (roster, encumbrances) in seen.items():
        assert await desk.roster(height) == roster
        assert await desk.encumbrances(height) == encumbrances
