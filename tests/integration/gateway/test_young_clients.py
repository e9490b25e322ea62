"""Each chain's light client of the other is kept young over a link on which nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.chassis.errors import ServiceError
from services.gateway import fetched_calls
from services.gateway.domain.errors import LinkUnattendedError
from tests.integration.gateway.killed import KilledError, dying_at
from tests.integration.gateway.link_ends import (
    MARKET,
    MINUTE_MS,
    REGULATOR,
    End,
    Saying,
    answer_of,
    change_sets,
    end_of,
    pass_minutes,
)
from tests.plugins.link_lab import KEYS, PEER, LinkLab, history_of, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until
from tests.unit.proof.proof_keys import Replicas

pytestmark = pytest.mark.req("G2-10-3", "T2-14")


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        await pass_minutes(opened, 1)
        yield opened


@pytest.fixture(params=[REGULATOR, MARKET])
def end(link: LinkLab, request: pytest.FixtureRequest) -> End:
    return end_of(link, request.param)


@pytest.fixture
def regulator(link: LinkLab) -> End:
    return end_of(link, REGULATOR)


@pytest.mark.parametrize("times", [1, 3, 12])
async def test_a_set_that_changes_on_an_idle_chain_is_followed_without_a_packet(
    end: End, times: int
) -> None:
    """Twelve are more than the light client takes in one step."""
    await end.fresh.look()
    assert end.client["epoch"] == 0
    change_sets(end.other, times)
    await pass_minutes(end.link, 59)
    await end.fresh.look()
    assert end.client["epoch"] == 0, "nothing is due yet"
    await pass_minutes(end.link, 2)
    await end.fresh.look()
    head = end.other.node.chain.header
    assert (end.client["epoch"], end.client["height"]) == (times, head.height)
    for lab in (end.own, end.other):
        assert await lab.rows("packets_sent", "sequence") == []


async def test_it_goes_on_by_itself_at_both_ends_while_nothing_is_sent(link: LinkLab) -> None:
    ends = [end_of(link, whose) for whose in (REGULATOR, MARKET)]
    ends[0].fresh, ends[1].fresh = link.regulator_freshness(60), link.market_freshness(60)
    tasks = [asyncio.ensure_future(end.fresh.run()) for end in ends]
    try:
        for epoch in (1, 2):
            for end in ends:
                change_sets(end.own, 1)
            await pass_minutes(link, 0.4)

            async def are_followed(epoch: int = epoch) -> bool:
                return all(end.client is not None and end.client["epoch"] == epoch for end in ends)

            await wait_until(f"both are followed to epoch {epoch}", are_followed)
            assert [task for task in tasks if task.done()] == []
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert [end.fresh.last_error for end in ends] == ["", ""]


async def test_a_young_client_costs_neither_a_question_nor_a_transaction(end: End) -> None:
    await end.fresh.look()
    submitted = end.own.node.submissions
    end.fresh.gateway = silent = Saying(lambda: None)  # type: ignore[assignment]
    await pass_minutes(end.link, 59)
    await end.fresh.look()
    assert (silent.asked, end.own.node.submissions) == (0, submitted)
    assert end.fresh.seen is not None
    assert end.fresh.seen.age_seconds >= 59 * 60


async def test_a_header_that_packets_brought_counts(regulator: End) -> None:
    link = regulator.link
    await regulator.fresh.look()
    await pass_minutes(link, 61)
    link.report()
    await link.deliver_and_acknowledge()
    submitted = link.regulator.node.submissions
    await regulator.fresh.look()
    assert link.regulator.node.submissions == submitted


async def test_two_gateways_at_once_have_one_effect_and_no_failure(end: End) -> None:
    await end.fresh.look()
    change_sets(end.other, 12)
    await pass_minutes(end.link, 61)
    before = end.updates
    await asyncio.gather(end.fresh.look(), end.another().look())
    assert end.updates == before + 2, "eight set changes, and four with the header"
    assert (end.client["epoch"], end.client["height"]) == (12, end.other.node.chain.header.height)


async def test_a_gateway_that_is_overtaken_by_a_later_header_has_nothing_left_to_do(
    end: End,
) -> None:
    await end.fresh.look()
    await pass_minutes(end.link, 61)
    later, honest = end.another(), end.fresh.gateway

    async def overtaken() -> pb.GetPacketAbsencesResponse:
        answer = await honest.get_packet_absences(
            pb.GetPacketAbsencesRequest(
                source=end.own.node.trust.chain_id, port="data_object", sequences=[1]
            )
        )
        end.other.node.chain.execute()
        await later.look()
        return answer

    end.fresh.gateway = Saying(overtaken)  # type: ignore[assignment]
    await end.fresh.look()
    assert end.client["height"] == end.other.node.chain.header.height
    assert end.fresh.seen is not None
    assert end.fresh.seen.height == end.client["height"]


@pytest.mark.parametrize("submission", [1, 2])
async def test_a_gateway_killed_between_any_two_steps_leaves_the_rest_to_the_next(
    end: End, monkeypatch: pytest.MonkeyPatch, submission: int
) -> None:
    """Between fetching and submitting, and between two of the steps that many set changes take."""
    await end.fresh.look()
    change_sets(end.other, 12)
    await pass_minutes(end.link, 61)
    with monkeypatch.context() as patched:
        patched.setattr(end.fresh.client, "submit", dying_at(submission, end.fresh.client))
        with pytest.raises(KilledError):
            await end.fresh.look()
    assert end.client["epoch"] == 8 * (submission - 1)
    await end.another().look()
    assert (end.client["epoch"], end.client["height"]) == (12, end.other.node.chain.header.height)


@pytest.mark.req("T2-12")
async def test_a_market_whose_gateway_fetches_nothing_is_told_of(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched_calls, "UNATTENDED_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(new_database, fetches=False))
        await pass_minutes(link, 1)
        end = end_of(link, REGULATOR)
        running = asyncio.ensure_future(end.fresh.run())
        try:

            async def is_told() -> bool:
                return end.fresh.last_error != ""

            await wait_until("the step says why it does not get on", is_told)
            assert end.fresh.last_error == f"light_client: {LinkUnattendedError('shandong')}"
            await stack.enter_async_context(link.fetching())

            async def is_over() -> bool:
                return end.fresh.last_error == "" and end.client is not None

            await wait_until("the client has its first header", is_over)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_an_old_header_and_a_chain_that_stands_still_are_told_and_cost_nothing(
    end: End,
) -> None:
    old = await answer_of(end)
    await pass_minutes(end.link, 61)
    await end.fresh.look()
    own = end.own.node.chain
    same = await answer_of(end)
    own.execute(time_ms=own.header.block_time_ms + 61 * MINUTE_MS)
    submitted = end.own.node.submissions
    for answer in (old, same):
        end.fresh.gateway = Saying(lambda answer=answer: answer)  # type: ignore[misc, assignment]
        with pytest.raises(ProofError, match="it is not newer than that of height 2"):
            await end.fresh.look()
    assert end.own.node.submissions == submitted


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize("kind", ["no quorum", "strangers", "another chain", "garbage", "nothing"])
async def test_a_header_that_proves_nothing_is_told_and_costs_no_transaction(
    end: End, kind: str
) -> None:
    answer = await answer_of(end)
    header = BlockHeader.decode(answer.certified_header.header)
    own = end.own.node.chain
    certified = answer.certified_header
    match kind:
        case "no quorum":
            certified.certificate = Replicas(KEYS, end.remote).certify(header, [0, 1]).encode()
        case "strangers":
            certified.certificate = Replicas(KEYS, end.remote, epoch=7).certify(header).encode()
        case "another chain":
            certified.CopyFrom(own.block_message(own.header.height).certified_header)
        case "garbage":
            certified.header = b"\xff"
        case "nothing":
            answer.Clear()
    end.fresh.gateway = Saying(lambda: answer)  # type: ignore[assignment]
    with pytest.raises(ProofError):
        await end.fresh.look()
    assert (end.client, end.own.node.submissions) == (None, 0)


class Register:
    """The standing of the market's chain on the regulatory one, as its contract `chains` keeps it
    and its state proves it; who may write it is shown beside that contract.
    """

    def __init__(self, regulator: End, monkeypatch: pytest.MonkeyPatch) -> None:
        client = regulator.own.runtime.client
        self._state = regulator.own.node.chain.state.values
        self._real = client.get_state_proof
        self._proven: dict[str, bytes] = {}
        monkeypatch.setattr(client, "get_state_proof", self._prove)

    async def _prove(self, key: str, height: int = 0) -> Any:
        if key in self._proven:
            return SimpleNamespace(value=self._proven[key])
        return await self._real(key, height)

    def write(self, status: str) -> None:
        standing: Json = {"status": status, "version": 1, "scope": "PACKETS"}
        record: Json = {"registration": {"operator": {"did": PEER}}}
        self._proven = {
            "chains/standing/shandong": canonical_json(standing),
            f"chains/registration/shandong/{1:020d}": canonical_json(record),
        }
        self._state.update({key.encode(): value for key, value in self._proven.items()})

    def clear(self) -> None:
        for key in self._proven:
            del self._state[key.encode()]
        self._proven = {}


@pytest.mark.parametrize("status", ["SUSPENDED", "DEREGISTERED"])
async def test_of_a_chain_that_is_shut_out_nothing_is_asked(
    regulator: End, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    register = Register(regulator, monkeypatch)
    register.write(status)
    await pass_minutes(regulator.link, 1)
    honest, silent = regulator.fresh.gateway, Saying(lambda: None)
    regulator.fresh.gateway = silent  # type: ignore[assignment]
    await regulator.fresh.look()
    assert (silent.asked, regulator.client) == (0, None)
    register.clear()
    await pass_minutes(regulator.link, 1)
    regulator.fresh.gateway = honest
    await regulator.fresh.look()
    assert regulator.client["height"] == regulator.other.node.chain.header.height


async def test_the_chains_refusal_is_told_with_its_code_and_the_next_set_change_is_followed(
    regulator: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a chain whose registration is stale only set changes are taken."""
    await regulator.fresh.look()
    Register(regulator, monkeypatch).write("STALE")
    await pass_minutes(regulator.link, 61)
    with pytest.raises(ServiceError) as refused:
        await regulator.fresh.look()
    assert refused.value.code == "REGISTRATION_STALE"
    change_sets(regulator.other, 1)
    await pass_minutes(regulator.link, 1)
    await regulator.fresh.look()
    assert regulator.client["epoch"] == 1


async def test_a_chain_without_a_block_or_without_the_other_ones_trust_asks_nothing(
    new_database: NewDatabase,
) -> None:
    async with open_link(new_database) as link:
        end = end_of(link, MARKET)
        end.fresh.gateway = silent = Saying(lambda: None)  # type: ignore[assignment]
        with pytest.raises(GuqiaoError) as early:
            await end.fresh.look()
        assert (early.value.code, silent.asked, end.fresh.seen) == ("HEIGHT_UNKNOWN", 0, None)
        link.market.node.chain.execute()
        end.fresh.remote_sets = history_of(link.market)  # No chain follows itself.
        await end.fresh.look()
        assert (silent.asked, end.fresh.seen) == (0, None)
