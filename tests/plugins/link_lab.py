"""Two chains and their gateways in one process: the market's speaks to the regulator's guarded gRPC
server, as through a tunnel, and fetches there what the regulator's relay asks of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.receipt import Receipt
from services.chassis.block_feed import publish_blocks
from services.chassis.grpc_server import RpcRefusals
from services.chassis.grpc_server.ports import AuditRecord
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.packet_link import settling
from services.gateway import handlers as gateway_handlers
from services.gateway.api import POLICIES, GatewayServicer
from services.gateway.app import MIGRATIONS
from services.gateway.consumers import apply_block
from services.gateway.domain.client_age import ClientPeriod
from services.gateway.fetched_audit import FetchedAudit
from services.gateway.fetched_calls import FetchedCalls
from services.gateway.fetching import Fetching, fetch_calls_of
from services.gateway.freshness import Freshness
from services.gateway.handlers import Handlers
from services.gateway.metrics import GatewayMetrics
from services.gateway.questions import CalledGateway, RemoteGateway
from services.gateway.relay import Relay
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, wait_until
from tests.unit.proof.proof_keys import Replicas, Sm2Keys
from tests.unit.xchain.ledger_chain import LINKED, ROLES, LedgerChain

KEYS = Sm2Keys(open_provider())
PEER = "did:rem:shandong:91370000MA0000000X"
"""The market's gateway, which the regulatory chain knows as a peer."""

OTHER_PEER = "did:rem:beijing:91110000MA0000000X"
"""The gateway of another market, which it knows as well."""

PEER_OF_MARKET = "did:rem:csrc:91370000MA0000000X"
"""The regulator's gateway, which the market's chain knows as a peer."""

STRANGER = "did:rem:csrc:91370000MA0000003X"


@dataclass
class Audited:
    """A place for audit records; while `is_full` it takes none."""

    records: list[AuditRecord] = field(default_factory=list)
    is_full: bool = False

    async def record(self, record: AuditRecord) -> None:
        if self.is_full:
            raise OSError("no space left on device")
        self.records.append(record)


@dataclass
class LinkLab:
    """`market` sends, `regulator` receives; `port` is the regulator's door for other gateways."""

    market: Lab
    regulator: Lab
    market_handlers: Handlers
    regulator_handlers: Handlers
    port: int
    relay: Relay
    back: Relay
    """The regulator's relay to the market."""
    fetched: FetchedCalls
    """The market's gateway as the regulator's has it."""
    market_servicer: GatewayServicer
    audited: Audited = field(default_factory=Audited)
    """What the market's gateway keeps of the calls that it fetched."""

    _following: list[asyncio.Task[None]] = field(default_factory=list)

    def report(self, count: int = 1, *, broken: bool = False) -> Receipt:
        """One operation on the market's chain that sends data objects."""
        chain = self.market.node.chain
        return chain.call("reports", "report", {"count": count, "broken": broken})

    async def project(self) -> None:
        """Bring both read models up to their chains' heads."""
        await self.project_one(self.market)
        await self.project_one(self.regulator)

    async def project_one(self, lab: Lab) -> None:
        """Bring one read model up to its chain's head."""
        known = await lab.pool.fetchval("SELECT max(height) FROM projected_blocks") or 0
        head = lab.node.chain.header.height
        await lab.project(apply_block, range(known + 1, head + 1))

    async def deliver_and_acknowledge(self) -> None:
        """One whole round by hand."""
        await self.project()
        while await self.relay.deliver_some():
            pass
        await self.project()
        while await self.relay.acknowledge_some():
            pass
        await self.project()

    async def states(self) -> list[int]:
        """The states of the market's packets, in order."""
        rows = await self.market.pool.fetch("SELECT state FROM packets_sent ORDER BY sequence")
        return [row["state"] for row in rows]

    def recorded(self) -> int:
        """How many data objects the regulatory chain has recorded."""
        return sum(
            event.topic == "object.recorded"
            for block in self.regulator.node.chain.blocks.values()
            for receipt in block.receipts
            for event in receipt.events
        )

    def acknowledged(self) -> int:
        """How many acknowledgements took effect on the market's chain."""
        return sum(
            event.topic == "packet.acknowledged"
            for block in self.market.node.chain.blocks.values()
            for receipt in block.receipts
            for event in receipt.events
        )

    def another_relay_back(self) -> Relay:
        """The regulator's, anew."""
        regulator = self.regulator
        return Relay(
            regulator.pool,
            regulator.runtime.client,
            history_of(self.market),
            self.fetched,
            KEYS.provider.verify,
            regulator.runtime.telemetry.tracer,
            GatewayMetrics(regulator.runtime.telemetry.metrics),
        )

    def market_freshness(self, period_seconds: int) -> Freshness:
        """What keeps the market's client of the regulatory chain young, anew."""
        return _freshness(self.market, self.regulator, self.called, period_seconds)

    def regulator_freshness(self, period_seconds: int) -> Freshness:
        """What keeps the regulatory chain's client of the market's young, anew."""
        return _freshness(self.regulator, self.market, self.fetched, period_seconds)

    @property
    def called(self) -> CalledGateway:
        """The regulator's gateway as the market's relay has it."""
        assert isinstance(self.relay.gateway, CalledGateway)
        return self.relay.gateway

    def another_fetching(self) -> Fetching:
        """What fetches for a market's gateway, as a process that was started anew makes it."""
        return fetching_of(
            self.market, self.regulator, self.port, self.market_servicer, self.audited
        )

    @asynccontextmanager
    async def fetching(self) -> AsyncIterator[Fetching]:
        """The market's gateway fetches inside the block, beside others that do."""
        end = self.another_fetching()
        task = asyncio.ensure_future(end.run())
        try:
            yield end
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def another_relay(self, caller: Identity | None = None) -> Relay:
        """A relay as a process that was started anew makes it."""
        market = self.market
        identity = caller or market.runtime.identity
        return Relay(
            market.pool,
            market.runtime.client,
            history_of(self.regulator),
            CalledGateway(GatewayServiceStub(self.regulator.channel(self.port, identity))),
            KEYS.provider.verify,
            market.runtime.telemetry.tracer,
            GatewayMetrics(market.runtime.telemetry.metrics),
        )

    @asynccontextmanager
    async def at_work(self, *, both_ways: bool = False) -> AsyncIterator[None]:
        """Publishers, followers and the relay run by themselves inside the block, that of the
        regulator too with `both_ways`.
        """
        jobs: list[Coroutine[Any, Any, None]] = [self.relay.run()]
        if both_ways:
            jobs.append(self.back.run())
        for lab in (self.market, self.regulator):
            runtime = lab.runtime
            jobs.append(publish_blocks(runtime.bus, runtime.pool, runtime.client))
            jobs.append(runtime.follow_blocks("gateway.packets", apply_block))
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            yield
            for task in tasks:
                assert not task.done(), task.exception()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_states(self, states: Callable[[], list[int]]) -> None:
        """Until the market's packets stand so."""

        async def reached() -> bool:
            return await self.states() == states()

        await wait_until("the packets' states", reached)


def _freshness(own: Lab, other: Lab, gateway: RemoteGateway, period_seconds: int) -> Freshness:
    runtime = own.runtime
    return Freshness(
        runtime.client,
        history_of(other),
        gateway,
        KEYS.provider.verify,
        GatewayMetrics(runtime.telemetry.metrics),
        ClientPeriod(period_seconds),
    )


def fetching_of(
    market: Lab, regulator: Lab, port: int, servicer: GatewayServicer, audited: Audited
) -> Fetching:
    """What fetches for a market's gateway at the regulator's `port`."""
    runtime, other = market.runtime, regulator.runtime
    channel = regulator.channel(port, runtime.identity)
    return Fetching(
        market.node.trust.chain_id,
        regulator.node.trust.chain_id,
        fetch_calls_of(channel),
        GatewayServiceStub(channel),
        servicer,
        FetchedAudit(
            runtime.settings.domain,
            runtime.service,
            other.identity.organisation,
            "gateway.csrc.example",
            audited,
            RpcRefusals(runtime.telemetry.metrics),
        ),
        runtime.telemetry.tracer,
        GatewayMetrics(runtime.telemetry.metrics),
    )


def history_of(lab: Lab) -> SetHistory:
    """The sets of a chain as one who has just begun to follow it knows them."""
    return SetHistory(lab.node.trust, KEYS.provider.verify)


def _other(did: str, role: str) -> IdentityRecord:
    key = KeyRecord(KEYS.public_key(did), 0, 1 << 52, False)
    return IdentityRecord(did, did, frozenset({role}), True, {"key-1": key})


def link_chains(packets_version: int = 1) -> tuple[LedgerChain, LedgerChain]:
    """A market's chain and the regulatory chain; each knows the other's gateway as a peer."""
    hashes = {name: Replicas(KEYS, name).set.hash() for name in ("shandong", "csrc")}
    shandong = LedgerChain(
        "shandong",
        KEYS,
        destination="csrc",
        remotes={"csrc": hashes["csrc"]},
        roles=ROLES | {"observer", "operator_maker"},
        others=[_other(PEER_OF_MARKET, "peer_gateway")],
        packets_version=packets_version,
    )
    csrc = LedgerChain(
        "csrc",
        KEYS,
        destination=None if packets_version >= LINKED else "shandong",
        remotes={"shandong": hashes["shandong"]},
        roles=ROLES | {"observer", "supervisor"},
        others=[
            _other(PEER, "peer_gateway"),
            _other(OTHER_PEER, "peer_gateway"),
            _other(STRANGER, "service_publisher"),
        ],
        packets_version=packets_version,
    )
    return shandong, csrc


@asynccontextmanager
async def open_link(
    new_database: NewDatabase,
    peers: Any = None,
    market: LedgerChain | None = None,
    packets_version: int = 1,
    *,
    fetches: bool = True,
) -> AsyncIterator[LinkLab]:
    """Both ends of a link, of which only the fetching runs by itself yet, and that only if
    `fetches`; `market` is the sending chain where a test brings its own.
    """
    async with AsyncExitStack() as stack:
        labs = []
        shandong, csrc = link_chains(packets_version)
        for chain in (market or shandong, csrc):
            node = LedgerNode(chain)
            await node.start()
            stack.push_async_callback(node.stop)
            signer = identity_of(chain, KEYS)
            lab = open_lab(
                new_database,
                node,
                signer,
                KEYS.provider,
                service="gateway",
                migrations=MIGRATIONS,
            )
            labs.append(await stack.enter_async_context(lab))
        sender, regulator = labs
        handlers = [
            Handlers(
                lab.pool,
                lab.runtime.client,
                {other.node.trust.chain_id: history_of(other)},
                GatewayMetrics(lab.runtime.telemetry.metrics),
            )
            for lab, other in ((sender, regulator), (regulator, sender))
        ]
        fetched = FetchedCalls(sender.node.trust.chain_id, sender.runtime.identity.organisation)
        servicer = GatewayServicer(handlers[1], lambda chain: "", {fetched.chain_id: fetched})
        serving = regulator.serving(POLICIES, add_GatewayServiceServicer_to_server, servicer, peers)
        port = await stack.enter_async_context(serving)
        link = LinkLab(
            sender,
            regulator,
            handlers[0],
            handlers[1],
            port,
            relay=None,  # type: ignore[arg-type]
            back=None,  # type: ignore[arg-type]
            fetched=fetched,
            market_servicer=GatewayServicer(handlers[0], lambda chain: ""),
        )
        link.relay, link.back = link.another_relay(), link.another_relay_back()
        if fetches:
            await stack.enter_async_context(link.fetching())
        yield link


@asynccontextmanager
async def open_unfetched(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    """A link on which nobody fetches yet, of whose messages no contract hears: another one sends
    them.
    """
    monkeypatch.setattr(gateway_handlers, "READ_MODEL_SECONDS", 0.3)
    monkeypatch.setattr(settling, "SENDERS", {})
    async with open_link(new_database, packets_version=3, fetches=False) as opened:
        yield opened
