"""A message from one market to another, carried by the relays of three gateways that work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import pytest

from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from services.chassis.block_feed import publish_blocks
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.contracts.packet_link.messages import MESSAGE, sent_key
from services.gateway.api import POLICIES, GatewayServicer
from services.gateway.app import MIGRATIONS
from services.gateway.consumers import apply_block
from services.gateway.fetched_calls import FetchedCalls
from services.gateway.fetching import Fetching
from services.gateway.handlers import Handlers
from services.gateway.metrics import GatewayMetrics
from services.gateway.questions import CalledGateway, RemoteGateway
from services.gateway.relay import Relay
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, Audited, fetching_of, history_of
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, wait_until
from tests.unit.proof.proof_keys import Replicas
from tests.unit.xchain.ledger_chain import ROLES, LedgerChain

CSRC, SHANDONG, BEIJING = "csrc", "shandong", "beijing"
NEIGHBOURS = {CSRC: (SHANDONG, BEIJING), SHANDONG: (CSRC,), BEIJING: (CSRC,)}
OPERATOR = ("operator_maker", "operator_checker")


def person(chain: str, role: str, did: str = "") -> IdentityRecord:
    organisation = did or f"did:rem:{chain}:OPERATOR"
    name = did or f"{organisation}.{role}"
    key = KeyRecord(KEYS.public_key(name), 0, 1 << 52, False)
    return IdentityRecord(name, organisation, frozenset({role}), True, {"key-1": key})


def chain_of(name: str) -> LedgerChain:
    """A chain that knows its neighbours' light clients, and their gateways as peers."""
    hashes = {chain: Replicas(KEYS, chain).set.hash() for chain in NEIGHBOURS}
    peers = [
        person(name, "peer_gateway", f"did:rem:{other}:91370000MA0000000X")
        for other in NEIGHBOURS[name]
    ]
    return LedgerChain(
        name,
        KEYS,
        destination=None if name == CSRC else CSRC,
        remotes={other: hashes[other] for other in NEIGHBOURS[name]},
        roles=ROLES | {"observer"},
        others=[*peers, *(person(name, role) for role in OPERATOR)],
        packets_version=3,
    )


def write(lab: Lab, to: str, within_ms: int) -> Receipt:
    """Two persons of the operator send a message."""
    chain = lab.node.chain
    signers = tuple(person(chain.header.chain_id, role) for role in OPERATOR)
    body: dict[str, Json] = {
        "to": to,
        "type": "notice",
        "content": {"title": "核对"},
        "deadline": {"within_ms": within_ms},
    }
    transaction = chain.transaction("packets", "send_message", body, signers=signers)
    return chain.execute(transaction).receipts[0]


def state_of(lab: Lab, sequence: int) -> Json:
    record = lab.node.chain.value(f"packets/{sent_key(CSRC, MESSAGE, sequence)}")
    return record["state"] if isinstance(record, dict) else None


async def open_labs(stack: AsyncExitStack, new_database: NewDatabase) -> dict[str, Lab]:
    labs = {}
    for name in NEIGHBOURS:
        chain = chain_of(name)
        chain.execute()  # Nothing is provable under a genesis.
        node = LedgerNode(chain)
        await node.start()
        stack.push_async_callback(node.stop)
        signer = identity_of(chain, KEYS)
        opened = open_lab(
            new_database, node, signer, KEYS.provider, service="gateway", migrations=MIGRATIONS
        )
        labs[name] = await stack.enter_async_context(opened)
    return labs


async def open_ends(
    stack: AsyncExitStack, labs: Mapping[str, Lab]
) -> dict[tuple[str, str], list[Relay | Fetching]]:
    """What each end of each link does by itself: the gateways of the markets call the regulator's,
    which calls nobody.
    """
    fetched = {
        other: FetchedCalls(other, labs[other].runtime.identity.organisation)
        for other in NEIGHBOURS[CSRC]
    }
    servicers = {
        name: GatewayServicer(_handlers(labs, name), lambda chain: "", fetched)
        if name == CSRC
        else GatewayServicer(_handlers(labs, name), lambda chain: "")
        for name in labs
    }
    csrc = labs[CSRC]
    serving = csrc.serving(POLICIES, add_GatewayServiceServicer_to_server, servicers[CSRC])
    port = await stack.enter_async_context(serving)
    ends: dict[tuple[str, str], list[Relay | Fetching]] = {}
    for name, calls in fetched.items():
        runtime = labs[name].runtime
        stub = GatewayServiceStub(csrc.channel(port, runtime.identity))
        fetching = fetching_of(labs[name], csrc, port, servicers[name], Audited())
        ends[name, CSRC] = [_relay(labs, name, CSRC, CalledGateway(stub)), fetching]
        ends[CSRC, name] = [_relay(labs, CSRC, name, calls)]
    return ends


def _handlers(labs: Mapping[str, Lab], name: str) -> Handlers:
    runtime = labs[name].runtime
    sets = {other: history_of(labs[other]) for other in NEIGHBOURS[name]}
    return Handlers(runtime.pool, runtime.client, sets, GatewayMetrics(runtime.telemetry.metrics))


def _relay(labs: Mapping[str, Lab], name: str, other: str, gateway: RemoteGateway) -> Relay:
    runtime = labs[name].runtime
    return Relay(
        runtime.pool,
        runtime.client,
        history_of(labs[other]),
        gateway,
        KEYS.provider.verify,
        runtime.telemetry.tracer,
        GatewayMetrics(runtime.telemetry.metrics),
    )


@pytest.mark.req("G2-03-1", "G2-06-4", "T2-14", "N0-07")
async def test_a_message_goes_from_market_to_market_and_its_result_comes_home(
    new_database: NewDatabase,
) -> None:
    """The other market's gateway begins late: one message has timed out by then, one arrives."""
    async with AsyncExitStack() as stack:
        labs = await open_labs(stack, new_database)
        ends = await open_ends(stack, labs)
        late = ends.pop((BEIJING, CSRC))
        tasks = [asyncio.ensure_future(end.run()) for each in ends.values() for end in each]
        for lab in labs.values():
            runtime = lab.runtime
            feed = publish_blocks(runtime.bus, runtime.pool, runtime.client)
            tasks += [
                asyncio.ensure_future(feed),
                asyncio.ensure_future(runtime.follow_blocks("gateway.packets", apply_block)),
            ]
        try:
            for within_ms in (60_000, 500_000):
                assert write(labs[SHANDONG], BEIJING, within_ms).accepted

            async def are_relayed() -> bool:
                return [state_of(labs[SHANDONG], number) for number in (1, 2)] == ["RELAYED"] * 2

            await wait_until("both are relayed", are_relayed)
            beijing = labs[BEIJING].node.chain
            beijing.execute(time_ms=beijing.header.block_time_ms + 120_000)
            tasks += [asyncio.ensure_future(end.run()) for end in late]

            async def are_over() -> bool:
                for task in tasks:
                    assert not task.done(), task.exception()
                ends = [state_of(labs[SHANDONG], number) for number in (1, 2)]
                return ends == ["TIMED_OUT", "DELIVERED"]

            await wait_until("both results are home", are_over)
            assert beijing.value("packets/message/received_count") == 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
