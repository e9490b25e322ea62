"""The sets of both chains change under a link: packets and acknowledgements go on, proven."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.light_client import SetChange
from services.gateway.handlers import followed_epoch
from tests.plugins.link_lab import KEYS, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab
from tests.unit.proof.proof_keys import Replicas

ACKNOWLEDGED = 3


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        yield opened


def change_sets(lab: Lab, times: int = 1) -> None:
    """The chain's next blocks are each the last of an epoch."""
    chain = lab.node.chain
    for _ in range(times):
        chain.execute(next_replicas=chain.replicas.next_epoch())


def followed(lab: Lab, remote: str) -> Any:
    """The epoch in which the chain's light client stands."""
    record: Any = lab.node.chain.value(f"light_client/client/{remote}")
    return record["epoch"]


@pytest.mark.req("G2-10-3", "T2-14", "G2-19-4")
@pytest.mark.parametrize(("market", "regulator"), [(1, 0), (0, 1), (2, 3), (12, 10)])
async def test_packets_and_acknowledgements_go_on_over_set_changes_of_either_chain(
    link: LinkLab, market: int, regulator: int
) -> None:
    """Twelve are more than the light client takes in one step."""
    link.report(2)
    await link.deliver_and_acknowledge()
    change_sets(link.market, market)
    change_sets(link.regulator, regulator)
    link.report(3)
    await link.deliver_and_acknowledge()
    assert await link.states() == [ACKNOWLEDGED] * 5
    assert (link.recorded(), link.acknowledged()) == (5, 5)
    assert followed(link.regulator, "shandong") == market
    assert followed(link.market, "csrc") == regulator


async def test_sets_that_change_between_every_step_double_and_lose_nothing(link: LinkLab) -> None:
    for _ in range(3):
        link.report(2)
        await link.project()
        change_sets(link.market)
        while await link.relay.deliver_some():
            change_sets(link.market)
            change_sets(link.regulator)
        await link.project()
        while await link.relay.acknowledge_some():
            change_sets(link.regulator)
        await link.project()
    assert await link.states() == [ACKNOWLEDGED] * 6
    assert (link.recorded(), link.acknowledged()) == (6, 6)


async def test_a_relay_that_is_started_anew_after_set_changes_needs_no_history(
    link: LinkLab,
) -> None:
    change_sets(link.market, 2)
    change_sets(link.regulator, 2)
    link.report(1)
    await link.deliver_and_acknowledge()
    change_sets(link.regulator)
    link.relay = link.another_relay()
    link.report(1)
    await link.deliver_and_acknowledge()
    assert await link.states() == [ACKNOWLEDGED] * 2


@pytest.mark.req("G2-19-4")
async def test_an_anchor_brings_the_set_changes_that_prove_it(link: LinkLab) -> None:
    change_sets(link.regulator, 2)
    link.report(1)
    await link.deliver_and_acknowledge()
    change_sets(link.regulator)
    [row] = await link.market.rows("packets_sent", "sequence")
    anchor = packet_pb2.Anchor.FromString(row["anchor"])
    sets = SetHistory(link.regulator.node.trust, KEYS.provider.verify)
    header = BlockHeader.decode(anchor.certified_header.header)
    with pytest.raises(ProofError, match="not known"):
        sets.set_of(header)
    sets.learn(anchor.set_changes)
    verify_header(anchor.certified_header, sets.set_of(header), KEYS.provider.verify)
    assert header.epoch == 2


@pytest.mark.req("G2-19-4")
async def test_set_changes_come_once_with_many_receipts_and_stand_beside_each_anchor_at_home(
    link: LinkLab,
) -> None:
    """Fifty receipts with all changes each would outgrow a message after some dozens of them."""
    change_sets(link.regulator, 3)
    link.report(2)
    await link.project()
    await link.relay.deliver_some()
    await link.project()
    heard = Forging(link.called.stub, [])
    link.called.stub, honest = heard, link.called.stub  # type: ignore[assignment]
    with pytest.raises(ProofError):
        await link.relay.acknowledge_some()
    [response] = heard.responses
    assert [list(row.anchor.set_changes) for row in response.receipts] == [[], []]
    link.called.stub = honest
    await link.deliver_and_acknowledge()
    for row in await link.market.rows("packets_sent", "sequence"):
        assert len(packet_pb2.Anchor.FromString(row["anchor"]).set_changes) == 3


class States:
    """A client that proves what a dictionary says."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    async def get_state_proof(self, key: str) -> Any:
        value = self._values.get(key)
        return SimpleNamespace(value=None if value is None else json.dumps(value).encode())


@pytest.mark.req("G2-10-1", "G2-10-3")
async def test_a_chain_is_followed_from_its_light_client_its_registration_or_genesis_on() -> None:
    """A chain may be registered in a later epoch: earlier set changes are refused there."""
    states: dict[str, Any] = {
        "light_client/parameters": {"remote_chains": [{"chain_id": "csrc", "epoch": 0}]}
    }

    async def epoch(chain: str) -> int | None:
        return await followed_epoch(States(states), chain)  # type: ignore[arg-type]

    assert (await epoch("csrc"), await epoch("shandong")) == (0, None)
    states["light_client/trust/shandong"] = {"epoch": 2}
    assert await epoch("shandong") == 2
    states["light_client/client/shandong"] = {"epoch": 5}
    assert (await epoch("shandong"), await epoch("csrc")) == (5, 0)


class Forging:
    """The regulator's gateway, whose set changes are of its own making."""

    def __init__(self, stub: Any, forged: list[bytes]) -> None:
        self._stub, self._forged = stub, forged
        self.responses: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    async def GetPacketReceipts(self, request: Any, **options: Any) -> Any:
        response = await self._stub.GetPacketReceipts(request, **options)
        self.responses.append(response)
        del response.set_changes[:]
        response.set_changes.extend(self._forged)
        return response


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize("kind", ["none", "garbage", "forged"])
async def test_set_changes_that_prove_nothing_are_not_believed(link: LinkLab, kind: str) -> None:
    change_sets(link.regulator)
    link.report(1)
    await link.project()
    await link.relay.deliver_some()
    await link.project()
    [true] = link.regulator.node.chain.set_changes
    others = Replicas(KEYS, "csrc", epoch=1, size=5)
    forged = {
        "none": [],
        "garbage": [b"\xff" * 40],
        "forged": [SetChange(true.header, true.certificate, others.set).encode()],
    }
    honest, link.called.stub = link.called.stub, Forging(link.called.stub, forged[kind])  # type: ignore[assignment]
    with pytest.raises(ProofError):
        await link.relay.acknowledge_some()
    assert link.acknowledged() == 0
    link.called.stub = honest
    await link.deliver_and_acknowledge()
    assert link.acknowledged() == 1
