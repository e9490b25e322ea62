"""A roster of two thousand entries, from the register through both ledgers to its proof: it travels
in parts, and nothing calls it anchored before the last of them is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.proof.bundle import Anchor, Bundle, CertifiedHeader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.object_parts import join_parts
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.receipt import Receipt
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import Trust
from guqiao_sdk.verify import verify_bundle
from services.registry import app as registry
from services.registry import store as registry_store
from services.registry.consumers import apply_block as apply_to_registry
from services.reporting import app as reporting
from services.reporting.consumers import apply_block as apply_to_reporting
from services.reporting.handlers import Handlers as Reporting
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, LinkLab, open_link
from tests.plugins.market_ledger import market_chain
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab
from tests.unit.contracts.register_market import (
    company_registration,
    company_row,
    dataset_days,
    entry,
    evidence,
    investor_row,
    market_body,
    product_code,
    product_row,
    registration,
)
from tests.unit.proof.bundle_case import ISSUER, chain_trust
from tests.unit.xchain.ledger_chain import LedgerChain

ACCOUNTS, NATURES = 50, 40
ENTRIES = ACCOUNTS * NATURES
TIME = "2025-09-01T10:00:00+08:00"
REQUEST = "7b0f6a0e-52a5-4b6e-9a5f-0c3f6f1f0002"
LONG = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(44))
"""A name that no index takes as it is: 2,816 characters that cannot be compressed."""


@dataclass
class Domain:
    """The link, and the read models that follow its chains."""

    link: LinkLab
    registry: Lab
    reporting: Lab
    received: Lab

    async def project(self) -> None:
        """Bring every read model up to its chain's head."""
        await self.link.project()
        for lab, apply in (
            (self.registry, apply_to_registry),
            (self.reporting, apply_to_reporting),
            (self.received, apply_to_reporting),
        ):
            known = await lab.pool.fetchval("SELECT max(height) FROM projected_blocks") or 0
            await lab.project(apply, range(known + 1, lab.node.chain.header.height + 1))

    async def operation(self) -> registry_store.OperationRow:
        """What the registry knows of the roster's registration."""
        did = self.link.market.node.chain.did
        async with self.registry.pool.acquire() as connection:
            row = await registry_store.find_operation(connection, did, REQUEST)
        assert row is not None
        return row


def do(chain: LedgerChain, *calls: tuple[str, dict[str, Any]], request_id: str = "") -> Any:
    """Execute calls of the register in one block; all must be accepted."""
    block = chain.execute(
        *(
            chain.transaction(
                "register", method, body, business_time=TIME, request_id=request_id or None
            )
            for method, body in calls
        )
    )
    for receipt in block.receipts:
        assert receipt.accepted, (receipt.code, receipt.detail)
    return block


def market_with_roster() -> tuple[LedgerChain, Any]:
    """A market's chain with a product of two thousand positions; and the block that made them."""
    chain = market_chain(KEYS)
    body = market_body()
    forms = {"label": "股", "forms": ["joint_stock"]}
    body["share_natures"] = {f"{number:02}": forms for number in range(NATURES)}
    days = [day for day in dataset_days() if day.startswith("2025")]
    code = product_code(1) + LONG
    product = product_row(1, product_code=code, registered_shares=ENTRIES)
    do(chain, ("configure_market", body), ("put_trading_days", {"year": 2025, "days": days}))
    do(chain, ("put_companies", {"companies": [company_row(1)]}))
    investors = [investor_row(n, investor_ref=f"I{n}{LONG}") for n in range(ACCOUNTS)]
    do(
        chain,
        ("put_products", {"products": [product]}),
        ("put_investors", {"investors": investors}),
    )
    opened = evidence("open_account")
    openings = [
        ("open_account", {"investor_ref": row["investor_ref"], "evidence": opened})
        for row in investors
    ]
    do(chain, *openings)
    do(chain, ("register_company", company_registration(1)))
    roster = [
        entry(f"Q{account:09}", 1, nature=f"{nature:02}")
        for account in range(ACCOUNTS)
        for nature in range(NATURES)
    ]
    registered = registration(*roster, product_code=code, total_shares=ENTRIES)
    return chain, do(chain, ("initial_registration", registered), request_id=REQUEST)


@pytest.fixture
async def domain(new_database: NewDatabase) -> AsyncIterator[Domain]:
    chain, _ = market_with_roster()
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(new_database, market=chain))
        labs = []
        for of, service in (
            (link.market, registry),
            (link.market, reporting),
            (link.regulator, reporting),
        ):
            opened = open_lab(
                new_database,
                LedgerNode(of.node.chain, port=1),
                identity_of(of.node.chain, KEYS),
                KEYS.provider,
                service=service.SERVICE,
                migrations=service.MIGRATIONS,
            )
            labs.append(await stack.enter_async_context(opened))
        yield Domain(link, *labs)


@pytest.mark.req("N0-07", "N0-17", "G2-08-5")
async def test_a_large_roster_is_anchored_when_every_part_of_it_is(domain: Domain) -> None:
    link = domain.link
    await domain.project()
    assert not (await domain.operation()).anchored
    parts = (await domain.operation()).packet_count
    assert parts > 2
    rows = await domain.registry.rows("positions", "account, nature")
    assert len(rows) == ENTRIES
    await anchor_all_but(domain, parts)
    for part in range(1, parts + 1):
        assert not (await domain.operation()).anchored
        sent, received = (
            await reported(domain, domain.reporting),
            await reported(domain, domain.received),
        )
        assert (sent, received) == ([False] * parts, [False] * (part - 1))
        link.relay._at_once["data_object"] = 1
        assert await link.relay.deliver_some() == 1
        await domain.project()
        assert await link.relay.acknowledge_some() == 1
        await domain.project()
    assert (await domain.operation()).anchored
    assert await reported(domain, domain.reporting) == [True] * parts
    assert await reported(domain, domain.received) == [True] * parts
    await check_whole(domain, parts)
    await check_bundle(domain, parts)


async def anchor_all_but(domain: Domain, last: int) -> None:
    """Carry the packets before the roster's, fifty at most at a time."""
    link = domain.link
    before = len(await link.states()) - last
    while (done := (await link.states()).count(3)) < before:
        link.relay._at_once["data_object"] = min(50, before - done)
        await link.relay.deliver_some()
        await domain.project()
        while await link.relay.acknowledge_some():
            await domain.project()
        await domain.project()


async def reported(domain: Domain, lab: Lab) -> list[bool]:
    """Whether each known part of the roster is called anchored, in order of their recording."""
    first = (await domain.operation()).object_id
    rows = await lab.rows("data_objects", "place")
    return [row["anchored"] for row in rows if row["whole_id"] == first]


async def check_whole(domain: Domain, parts: int) -> None:
    """What the regulator has received gives the whole roster again."""
    first = (await domain.operation()).object_id
    desk = Reporting(domain.received.pool, "csrc")
    names = [first, *(f"{first}:{number}" for number in range(2, parts + 1))]
    found = [await desk.get_object(name, 0) for name in names]
    whole: Any = join_parts([json.loads(item.object) for item in found])
    rolls = whole["registration_information"]["roll_records"]
    holders = rolls["register_shareholders"]
    keys = [
        (row["register_shareholder_account"], row["register_shareholding_nature"])
        for row in holders
    ]
    assert keys == [
        (f"Q{account:09}", f"{nature:02}")
        for account in range(ACCOUNTS)
        for nature in range(NATURES)
    ]


async def check_bundle(domain: Domain, parts: int) -> None:
    """The bundle holds every part with its anchor, and proves nothing where one is left away."""
    link = domain.link
    while await link.relay.anchor_some():
        pass
    chain, csrc = link.market.node.chain, link.regulator.node.chain
    transaction_id = (await domain.operation()).result.transaction_id
    packets: list[Packet] = []
    anchors: list[Anchor] = []
    for index in range(parts):
        sent, count = await link.market_handlers.get_packet(transaction_id, index)
        assert count == parts
        packets.append(sent.packet)
        anchors.append(anchor_of(packet_pb2.Anchor.FromString(sent.anchor), csrc))
    height = (await domain.operation()).result.height
    block = chain.blocks[height]
    bundle = Bundle(
        transaction=SignedTransaction.decode(block.transactions[0]),
        transaction_path=block.transaction_path(0),
        receipt=block.receipts[0],
        receipt_path=block.receipt_path(0),
        certified=CertifiedHeader.build(chain.replicas.set, block.header, block.certificate),
        packets=tuple(packets),
        anchors=tuple(anchors),
    )
    trust = Trust(
        issuer_did=ISSUER,
        issuer_key=KEYS.public_key(ISSUER),
        issued_at="2026-01-05T09:30:00+08:00",
        chains=(chain_trust(csrc, csrc.replicas.set), chain_trust(chain, chain.replicas.set)),
    )
    assert Bundle.decode(bundle.encode()) == bundle
    verdict = verify_bundle(bundle.encode(), trust, KEYS.verify, now_ms=0)
    assert len(verdict.packets) == len(verdict.anchors) == parts
    assert verdict.object_id == (await domain.operation()).object_id
    last = anchors[-1].certified.header.height
    assert verdict.anchor is not None
    assert verdict.anchor.block.height == last
    for wrong in (packets[:-1], packets[1:], [packets[1], packets[0], *packets[2:]]):
        spoilt = Bundle(
            *(bundle.transaction, bundle.transaction_path, bundle.receipt, bundle.receipt_path),
            *(bundle.certified, tuple(wrong), ()),
        )
        with pytest.raises(ProofError):
            verify_bundle(spoilt.encode(), trust, KEYS.verify, now_ms=0)


def anchor_of(message: packet_pb2.Anchor, csrc: LedgerChain) -> Anchor:
    header, certificate = verify_header(message.certified_header, csrc.replicas.set, KEYS.verify)
    proof = message.receipt_proof
    return Anchor(
        receipt=Receipt.decode(proof.leaf),
        receipt_path=MerklePath(proof.index, proof.count, tuple(proof.path)),
        certified=CertifiedHeader.build(csrc.replicas.set, header, certificate),
    )
