"""The observed link: a chain of another kind over nodes that stand in for its real ones, and what
the regulatory chain, a real ledger behind a real client, has recorded of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.observed_chains import acknowledgement, observed_client
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.checkpoint import checkpoint_value
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.observed_state import HEADERS_MAX, ObservedClient
from services.chassis.errors import ServiceError
from services.chassis.telemetry import Metrics
from services.consensus.domain.contracts.observed import ObservedContract
from services.gateway.api import GatewayServicer
from services.gateway.handlers import Handlers
from services.gateway.metrics import GatewayMetrics
from services.gateway.observed import observer as observing
from services.gateway.observed.comparing import Nodes, NodeState
from services.gateway.observed.json_rpc import Limits
from services.gateway.observed.observer import Observer
from tests.plugins.fisco_chain import FiscoChain, Row, provider, sign_header
from tests.plugins.fisco_node import FiscoNode
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.service_lab import wait_until
from tests.unit.xchain.registered_chains import BOTH_SIDES, KEYS, REGULATOR, Registry

pytestmark = pytest.mark.req("T2-13", "T2-14")

CHAIN = "shandong"
LIMITS = Limits(attempt_seconds=1.0, call_seconds=3.0)


@dataclass
class Observation:
    """The regulatory chain, two nodes of one market's chain, and who reads them."""

    registry: Registry
    ledger: LedgerNode
    client: ChainClient
    fisco: FiscoChain
    nodes: list[FiscoNode]
    metrics: Metrics = field(default_factory=Metrics)

    def observer(self) -> Observer:
        """One as a process that was started anew makes it."""
        nodes = Nodes([each.url for each in self.nodes], provider().verify, limits=LIMITS)
        return Observer(CHAIN, self.client, nodes, GatewayMetrics(self.metrics))

    def grow(self, count: int = 1) -> None:
        for _ in range(count):
            self.fisco.add_block(2)

    def decide(self, method: str, trusted: TrustedFisco, *who: Any) -> None:
        body: Any = {"chain": CHAIN, "checkpoint": checkpoint_value(trusted)}
        csrc = self.registry.csrc
        receipt = csrc.execute(csrc.transaction("observed", method, body, signers=who)).receipts[0]
        assert receipt.accepted, receipt.code

    async def recorded(self) -> ObservedClient:
        found = await observed_client(self.client, CHAIN)
        assert found is not None
        return found

    async def height(self) -> int:
        return (await self.recorded()).trusted.number

    def alarms(self, code: str) -> float:
        return float(GatewayMetrics(self.metrics).alarms.labels(CHAIN, code)._value.get())

    async def stop(self) -> None:
        for each in self.nodes:
            await each.stop()

    async def start(self) -> None:
        for each in self.nodes:
            await each.start()


@pytest.fixture
async def made() -> AsyncIterator[Observation]:
    """Begun at the genesis block, with three blocks to be read."""
    async with AsyncExitStack() as stack:
        registry = Registry.make(ObservedContract(2))
        ledger = LedgerNode(registry.csrc)
        await ledger.start()
        stack.push_async_callback(ledger.stop)
        client = ledger.client(KEYS.provider, identity_of(registry.csrc, KEYS))
        stack.push_async_callback(client.close)
        fisco = FiscoChain()
        nodes = [FiscoNode(fisco), FiscoNode(fisco)]
        found = Observation(registry, ledger, client, fisco, nodes)
        await found.start()
        stack.push_async_callback(found.stop)
        found.grow(3)
        found.decide("begin", fisco.trusted(), *BOTH_SIDES)
        yield found


def lying(height: int, change: Callable[[Row], Row]) -> Callable[[str, Any], Any]:
    """A node that shows another block of one height."""

    def spoil(method: str, result: Any) -> Any:
        is_it = method == "getBlockByNumber" and result and result["number"] == height
        return change(result) if is_it else result

    return spoil


def uncertified(row: Row) -> Row:
    """Another block, with the signatures of the true one."""
    changed = {**row, "stateRoot": "0x" + "07" * 32}
    return {**sign_header(changed, []), "signatureList": row["signatureList"]}


def certified(fisco: FiscoChain) -> Callable[[Row], Row]:
    """Another block that the same sealers signed."""

    def change(row: Row) -> Row:
        signed = sign_header({**row, "stateRoot": "0x" + "07" * 32}, [*enumerate(fisco.names)])
        return {**row, **signed}

    return change


# --- Following ------------------------------------------------------------------------------------


async def test_every_header_is_recorded_with_the_height_of_the_regulatory_chain(
    made: Observation,
) -> None:
    assert await made.observer().follow_some() == 3
    recorded = await made.recorded()
    assert recorded.trusted == made.fisco.trusted(3)
    for height in (1, 2, 3):
        kept = await acknowledgement(made.client, CHAIN, 0, height)
        assert kept is not None
        assert "0x" + str(kept["header_hash"]) == made.fisco.block(height)["hash"]
        assert "0x" + str(kept["transactions_root"]) == made.fisco.block(height)["txsRoot"]
        assert kept["recorded_height"] == recorded.recorded_height
    assert await acknowledgement(made.client, CHAIN, 0, 4) is None
    assert recorded.recorded_height == made.registry.csrc.header.height


async def test_what_is_recorded_already_is_not_brought_again(made: Observation) -> None:
    observer = made.observer()
    assert await observer.follow_some() == 3
    before = made.ledger.submissions
    assert await observer.follow_some() == 0
    assert made.ledger.submissions == before


async def test_an_observer_that_begins_anew_goes_on_where_the_contract_stands(
    made: Observation,
) -> None:
    assert await made.observer().follow_some() == 3
    made.grow(2)
    assert await made.observer().follow_some() == 2
    assert await made.height() == 5


async def test_an_observer_killed_between_reading_and_recording_leaves_nothing_undone(
    made: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    async def die(*told: Any) -> None:
        raise KilledError

    with monkeypatch.context() as dying:
        dying.setattr(observing, "submit_relay", die)
        with pytest.raises(KilledError):
            await made.observer().follow_some()
    assert await made.height() == 0
    assert await made.observer().follow_some() == 3


async def test_an_observer_killed_after_recording_records_nothing_twice(
    made: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = await made.recorded()
    assert await made.observer().follow_some() == 3
    first = await acknowledgement(made.client, CHAIN, 0, 2)

    async def as_before(*told: Any) -> ObservedClient:
        return stale

    monkeypatch.setattr(observing, "observed_client", as_before)
    assert await made.observer().follow_some() == 3
    assert await acknowledgement(made.client, CHAIN, 0, 2) == first


async def test_two_observers_at_once_record_each_header_once(made: Observation) -> None:
    one, other = made.observer(), made.observer()
    await one.follow_some()
    kept = [await acknowledgement(made.client, CHAIN, 0, height) for height in (1, 2, 3)]
    made.grow(2)
    first, second = await one._standing(), await other._standing()
    assert first == second
    headers: list[list[Any]] = [[], []]
    await one._read(first, headers[0])
    await other._read(second, headers[1])
    made.grow(1)
    await other._read(replace(second, trusted=made.fisco.trusted(5)), headers[1])
    await one._record(headers[0])
    await other._record(headers[1])
    assert await made.height() == 6
    after = [await acknowledgement(made.client, CHAIN, 0, height) for height in (1, 2, 3)]
    assert after == kept
    fourth = await acknowledgement(made.client, CHAIN, 0, 4)
    sixth = await acknowledgement(made.client, CHAIN, 0, 6)
    assert fourth is not None
    assert sixth is not None
    assert fourth["recorded_height"] != sixth["recorded_height"]


async def test_all_nodes_away_stop_nothing_and_what_was_missed_is_caught_up_in_batches(
    made: Observation,
) -> None:
    observer = made.observer()
    await made.stop()
    with pytest.raises(ServiceError) as caught:
        await observer.follow_some()
    assert caught.value.code == "OBSERVED_NODE_UNAVAILABLE"
    assert made.registry.csrc.call("reports", "report", {"count": 0, "broken": False}).accepted
    made.grow(HEADERS_MAX)
    await made.start()
    assert await observer.follow_some() == HEADERS_MAX
    assert await observer.follow_some() == 3
    assert await made.height() == HEADERS_MAX + 3


async def test_the_regulatory_chain_away_is_waited_for(made: Observation) -> None:
    await made.ledger.stop()
    made.grow(2)
    with pytest.raises(GuqiaoError):
        await made.observer().follow_some()
    await made.ledger.start()
    assert await made.observer().follow_some() == 5


async def test_one_node_away_is_made_up_for_by_the_other(made: Observation) -> None:
    await made.nodes[0].stop()
    observer = made.observer()
    assert await observer.follow_some() == 3
    await observer.compare()
    assert [view.state for view in observer.views] == [NodeState.AWAY, NodeState.AGREES]
    assert made.alarms("NODE_DIVERGENCE") == 0


async def test_what_was_read_before_a_node_fails_is_recorded(made: Observation) -> None:
    for each in made.nodes:
        each.spoil = lying(3, uncertified)
    with pytest.raises(ProofError):
        await made.observer().follow_some()
    assert await made.height() == 2


async def test_sealers_that_change_one_by_one_are_followed_from_far_behind(
    made: Observation,
) -> None:
    """The latest header names none of those that are believed; the way there is block by block."""
    for index in range(4):
        names = list(made.fisco.names)
        names[index] = f"new{index}"
        made.fisco.names = tuple(names)
        made.grow()
    assert await made.observer().follow_some() == 7
    assert (await made.recorded()).trusted.sealers == made.fisco.sealers


async def test_sealers_that_nobody_believed_signed_for_wait_for_a_new_checkpoint(
    made: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.fisco.names = ("n0", "x1", "x2", "x3")
    made.grow(2)
    observer = made.observer()
    with pytest.raises(ProofError) as caught:
        await observer.follow_some()
    assert caught.value.code == "OBSERVED_SET_UNPROVEN"
    assert await made.height() == 3
    made.decide("consent", made.fisco.trusted(4), REGULATOR)
    made.decide("replace", made.fisco.trusted(4), *BOTH_SIDES)
    assert await observer.follow_some() == 1
    assert (await made.recorded()).generation == 1


async def test_a_chain_that_nobody_began_is_waited_for(made: Observation) -> None:
    observer = made.observer()
    observer.chain = "beijing"
    with pytest.raises(ServiceError) as caught:
        await observer.follow_some()
    assert caught.value.code == "CLIENT_UNKNOWN"


# --- Comparing ------------------------------------------------------------------------------------


@pytest.mark.req("G2-07-3")
async def test_nodes_that_say_the_same_agree(made: Observation) -> None:
    observer = made.observer()
    await observer.follow_some()
    await observer.compare()
    assert [view.state for view in observer.views] == [NodeState.AGREES] * 2
    assert [view.height for view in observer.views] == [3, 3]
    assert made.alarms("NODE_DIVERGENCE") == 0


@pytest.mark.req("G2-07-3")
async def test_a_node_whose_header_does_not_hold_is_named_and_the_others_are_believed(
    made: Observation,
) -> None:
    made.nodes[0].spoil = lying(3, uncertified)
    observer = made.observer()
    assert await observer.follow_some() == 3
    await observer.compare()
    liar, honest = observer.views
    assert (liar.state, honest.state) == (NodeState.DIVERGES, NodeState.AGREES)
    assert liar.name == made.nodes[0].url.removeprefix("http://")
    assert "signature" in liar.detail
    assert made.alarms("NODE_DIVERGENCE") == 1
    assert (await made.recorded()).status == "ACTIVE"


@pytest.mark.req("G2-07-3")
async def test_a_node_of_another_chain_is_named_before_any_block_is_known(
    made: Observation,
) -> None:
    made.nodes[1].chain = FiscoChain(group_id="group9")
    observer = made.observer()
    await observer.compare()
    assert [view.state for view in observer.views] == [NodeState.AGREES, NodeState.DIVERGES]
    assert made.alarms("NODE_DIVERGENCE") == 1


@pytest.mark.req("G2-07-3")
async def test_a_node_behind_the_others_is_no_divergence(made: Observation) -> None:
    behind = FiscoChain(blocks=made.fisco.blocks[:2])
    observer = made.observer()
    await observer.follow_some()
    made.nodes[1].chain = behind
    await observer.compare()
    assert [view.state for view in observer.views] == [NodeState.AGREES, NodeState.BEHIND]
    assert made.alarms("NODE_DIVERGENCE") == 0


@pytest.mark.req("G2-07-3", "G2-16-4")
async def test_a_fork_that_one_node_shows_is_evidence_and_freezes(made: Observation) -> None:
    observer = made.observer()
    await observer.follow_some()
    made.nodes[1].spoil = lying(3, certified(made.fisco))
    await observer.compare()
    assert [view.state for view in observer.views] == [NodeState.AGREES, NodeState.DIVERGES]
    assert made.alarms("NODE_DIVERGENCE") == 1
    assert (await made.recorded()).status == "FROZEN"
    kept: Any = made.registry.csrc.value(f"observed/fork/{CHAIN}/0000000000")
    assert kept["height"] == 3
    assert "0x" + kept["known_hash"] == made.fisco.block(3)["hash"]
    made.grow()
    with pytest.raises(ServiceError) as caught:
        await observer.follow_some()
    assert caught.value.code == "CLIENT_FROZEN"
    await observer.compare()
    assert made.alarms("NODE_DIVERGENCE") == 2, "it is told as long as it lasts"


@pytest.mark.req("G2-16-4")
async def test_a_fork_on_the_way_is_evidence_and_what_came_before_it_is_recorded(
    made: Observation,
) -> None:
    parent = [{"blockNumber": 1, "blockHash": "0x" + "05" * 32}]

    def change(row: Row) -> Row:
        signed = sign_header({**row, "parentInfo": parent}, [*enumerate(made.fisco.names)])
        return {**row, **signed}

    for each in made.nodes:
        each.spoil = lying(2, change)
    await made.observer().follow_some()
    recorded = await made.recorded()
    assert (recorded.status, recorded.trusted.number) == ("FROZEN", 1)


async def test_blocks_that_no_node_shows_are_missed_not_thought_of_as_none(
    made: Observation,
) -> None:
    """Nodes that have thrown old blocks away: their heights say that there are some."""
    for each in made.nodes:
        each.spoil = lying(1, lambda row: None)  # type: ignore[arg-type, return-value]
    observer = made.observer()
    assert await observer.follow_some() == 0
    await observer.compare()
    with pytest.raises(ServiceError) as caught:
        await observer.compare()
    assert caught.value.code == "OBSERVED_ITEM_UNKNOWN"


@pytest.mark.req("G2-07-3")
async def test_the_door_tells_how_far_it_is_and_which_node_differs(made: Observation) -> None:
    observer = made.observer()
    servicer = GatewayServicer(cast(Handlers, None), lambda chain: "", observers=[observer])

    async def asked() -> pb.ObservedChain:
        [told] = (await servicer.ListObservedChains(pb.ListObservedChainsRequest(), None)).chains
        return told

    before = await asked()
    assert (before.chain_id, before.status, list(before.nodes)) == (CHAIN, "", [])
    made.nodes[0].spoil = lying(3, uncertified)
    await observer.follow_some()
    await observer.follow_some()
    await observer.compare()
    after = await asked()
    recorded = await made.recorded()
    assert (after.status, after.height, after.recorded_height, after.header_hash) == (
        "ACTIVE",
        3,
        recorded.recorded_height,
        recorded.trusted.header_hash,
    )
    states = [pb.OBSERVED_NODE_STATE_DIVERGES, pb.OBSERVED_NODE_STATE_AGREES]
    assert [each.state for each in after.nodes] == states
    assert after.nodes[0].detail


# --- By itself ------------------------------------------------------------------------------------


async def test_by_itself_it_follows_through_outages_and_says_what_is_wrong(
    made: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "FOLLOW_SECONDS", 0.02)
    monkeypatch.setattr(observing, "COMPARE_SECONDS", 0.02)
    monkeypatch.setattr(observing, "BACKOFF_MAX_SECONDS", 0.05)
    observer = made.observer()
    task = asyncio.ensure_future(observer.run())

    async def at(height: int) -> bool:
        assert not task.done(), task.exception()
        return await made.height() == height

    try:
        await wait_until("the first blocks", lambda: at(3))
        await made.stop()
        await wait_until("the outage is told", told(lambda: "OBSERVED_NODE" in observer.last_error))
        made.grow(2)
        await made.start()
        await wait_until("the blocks since", lambda: at(5))
        await wait_until("nothing is wrong", told(lambda: not observer.last_error))
        made.nodes[1].spoil = lying(5, certified(made.fisco))
        frozen = told(lambda: made.alarms("CLIENT_FROZEN") > 0)
        await wait_until("the fork is told", frozen)
        assert "CLIENT_FROZEN" in observer.last_error
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def told(is_so: Callable[[], bool]) -> Callable[[], Any]:
    async def ask() -> bool:
        return is_so()

    return ask
