"""Whose gateway fetches is held against the register of the regulatory chain, where that has an
entry: its operator's alone, and nobody's while the chain is shut out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Deadline
from services.consensus.domain.contracts.chain_registry.standing import (
    IN_FORCE,
    Status,
    registration_key,
    standing_key,
)
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.gateway import admission
from services.gateway.domain.errors import LinkBrokenError
from tests.integration.gateway.senders import RECEIVED, SENT, ended, pass_blocks, send
from tests.plugins.ledger_node import identity_of
from tests.plugins.link_lab import KEYS, OTHER_PEER, PEER, LinkLab, open_unfetched
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal, wait_until

pytestmark = pytest.mark.req("G2-10-1", "N0-07")

SHUT_OUT = (Status.SUSPENDED, Status.DEREGISTERED)


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    async with open_unfetched(new_database, monkeypatch) as opened:
        yield opened


class Register:
    """What the regulatory chain proves of the contract `chains`, which these chains do not run: who
    may write it is shown beside that contract. All else is proven by the chain.
    """

    def __init__(self, link: LinkLab, monkeypatch: pytest.MonkeyPatch) -> None:
        self._values: dict[str, bytes] = {}
        self._real = link.regulator.runtime.client.get_state_proof
        monkeypatch.setattr(link.regulator.runtime.client, "get_state_proof", self._proven)

    async def _proven(self, key: str, height: int = 0) -> Any:
        if key in self._values:
            return SimpleNamespace(value=self._values[key])
        return await self._real(key, height)

    def write(self, status: Status, operator: str = PEER) -> None:
        standing: Json = {"status": status.value, "version": 2, "scope": "ALL", "height": 1}
        record: Json = {"registration": {"chain_id": "shandong", "operator": {"did": operator}}}
        self._values = {
            f"chains/{standing_key('shandong')}": canonical_json(standing),
            f"chains/{registration_key('shandong', 2)}": canonical_json(record),
        }


@pytest.fixture
def register(link: LinkLab, monkeypatch: pytest.MonkeyPatch) -> Register:
    return Register(link, monkeypatch)


async def opening(link: LinkLab) -> str:
    """How the market's gateway fares that opens a stream: the refusal, or nothing where it stands
    once its first message came.
    """
    caller = identity_of(link.regulator.node.chain, KEYS, PEER)
    stub = GatewayServiceStub(link.regulator.channel(link.port, caller))

    async def fetch() -> None:
        stream = stub.FetchCalls(pb.FetchCallsRequest(chain_id="shandong"))
        try:
            async for _ in stream:
                raise _StandsError
        finally:
            stream.cancel()

    try:
        status, code = await refusal(fetch())
    except _StandsError:
        return ""
    expected = {
        "CHAIN_NOT_ADMITTED": grpc.StatusCode.FAILED_PRECONDITION,
        "ORGANISATION_MISMATCH": grpc.StatusCode.PERMISSION_DENIED,
    }
    assert status is expected[code]
    return code


class _StandsError(Exception):
    """A stream stands."""


async def test_a_stream_is_its_operators_and_of_a_chain_that_is_let_in(
    link: LinkLab, register: Register
) -> None:
    """Before a registration is in force, the settings alone say whose it is."""
    assert await opening(link) == "", "the chain has no block"
    pass_blocks(link.regulator, 1)
    assert await opening(link) == "", "nobody registered the market's chain"
    for status in Status:
        shut_out = "CHAIN_NOT_ADMITTED" if status in SHUT_OUT else ""
        other = "ORGANISATION_MISMATCH" if status in IN_FORCE else ""
        register.write(status)
        assert await opening(link) == shut_out, status
        register.write(status, OTHER_PEER)
        assert await opening(link) == (shut_out or other), status


async def test_a_stream_ends_when_its_chain_is_shut_out_and_what_waits_goes_when_it_is_resumed(
    link: LinkLab, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ASKED_EVERY_SECONDS", 0.0)
    register.write(Status.ACTIVE)
    send(link.regulator, link.market, Deadline(height=10**6), port=DELIVERY)
    await link.project()
    async with link.fetching() as end:

        async def stands() -> bool:
            return bool(link.fetched._streams)

        await wait_until("a stream stands", stands)
        register.write(Status.SUSPENDED)
        with pytest.raises(LinkBrokenError):
            await link.back.deliver_some()

        async def is_told() -> bool:
            return "SUSPENDED" in end.last_error

        await wait_until("the market's gateway says why", is_told)
        assert ended(link.market, "packet.received") == 0
        [row] = await link.regulator.rows("packets_sent", "sequence")
        assert (row["state"], row["parked_cause"]) == (SENT, None)
        register.write(Status.ACTIVE)
        delivering = asyncio.ensure_future(link.back.deliver_some())
        assert await delivering == 1
    [row] = await link.regulator.rows("packets_sent", "sequence")
    assert row["state"] == RECEIVED
