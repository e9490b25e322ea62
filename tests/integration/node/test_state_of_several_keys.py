"""What several keys hold is proven with one call under one header, and no less strictly than one
key by itself: by a replica's RPC, and by a client that believes no replica.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.proven import STATE_KEYS_MAX, ProvenState, verify_state, verify_states
from guqiao_sdk.errors import NotFoundError
from guqiao_sdk.proof.errors import ProofError
from services.chassis.errors import FailedPreconditionError, InvalidError
from services.chassis.errors import NotFoundError as NotFound
from services.consensus import api as api_module
from services.consensus.api import NodeApi
from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import submit, transaction
from tests.integration.node.test_overload import api_of
from tests.plugins.chain_network import PARAMETERS, ChainNetwork
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains

PRESENT, ABSENT = b"identity/parameters", b"identity/no such key"


@dataclass
class Written:
    """One of four replicas, whose chain has two blocks."""

    network: ChainNetwork
    api: NodeApi

    async def ask(self, keys: Sequence[bytes], height: int = 0) -> node.GetStateProofsResponse:
        request = node.GetStateProofsRequest(keys=keys, height=height)
        return await self.api.GetStateProofs(request, None)

    async def proven(self, keys: Sequence[bytes], height: int = 0) -> list[ProvenState]:
        """What a verifier believes of the answer."""
        answer, trusted = await self.ask(keys, height), self.network.trust.replica_set
        return verify_states(answer, keys, height, trusted, self.network.provider.verify)


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Written]:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    network = ChainNetwork.create(tmp_path / "network", parameters=parameters)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        yield Written(network, api_of((await with_two_blocks(chain, network)).members[0]))


async def with_two_blocks(chain: MemoryChain, network: ChainNetwork) -> MemoryChain:
    members = [await chain.start(number) for number in range(4)]
    for name in ("one", "two"):
        await submit(members[0], transaction(network, name))  # It answers when that is final.
    return chain


@pytest.mark.req("G2-09-3", "G2-07-3")
async def test_each_of_several_keys_has_the_answer_that_it_has_by_itself(replica: Written) -> None:
    keys = [ABSENT, PRESENT, b"", b"\xff" * 600, PRESENT]
    states = await replica.proven(keys[:2], 1)
    assert [state.value is None for state in states] == [True, False]
    answer = await replica.ask(keys, 1)
    for key, found in zip(keys, answer.values, strict=True):
        request = node.GetStateProofRequest(key=key, height=1)
        alone = await replica.api.GetStateProof(request, None)
        assert (found.present, found.value, found.proof) == (
            alone.present,
            alone.value,
            alone.proof,
        )
        assert answer.certified_header == alone.certified_header
    latest = await replica.proven([PRESENT])
    assert latest[0].header.height == replica.api.finality.certified_height


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("count", [0, STATE_KEYS_MAX + 1])
async def test_no_key_and_too_many_keys_are_refused(replica: Written, count: int) -> None:
    assert len((await replica.ask([PRESENT] * STATE_KEYS_MAX)).values) == STATE_KEYS_MAX
    with pytest.raises(InvalidError) as refused:
        await replica.ask([PRESENT] * count)
    assert refused.value.code == "REQUEST_MALFORMED"


async def test_a_height_that_is_not_there_is_refused_as_for_one_key(
    replica: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound) as unknown:
        await replica.ask([PRESENT], 1_000)
    assert unknown.value.code == "HEIGHT_UNKNOWN"
    monkeypatch.setattr(type(replica.api.ledger.store), "prove_state", lambda *_: None)
    monkeypatch.setattr(api_module, "PROVABLE_HEIGHTS", 1)
    with pytest.raises(FailedPreconditionError) as pruned:
        await replica.ask([PRESENT], 1)
    certified = replica.api.finality.certified_height
    assert (pruned.value.code, pruned.value.fields["oldest"]) == ("HEIGHT_PRUNED", certified)


@pytest.mark.req("G2-13-2")
async def test_an_answer_ends_where_it_grows_too_large_but_not_before_the_first(
    replica: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (await replica.ask([PRESENT])).values[0].ByteSize()
    for room, expected in ((0, 1), (one, 1), (2 * one - 1, 1), (2 * one, 2), (10 * one, 3)):
        monkeypatch.setattr(api_module, "STATE_ANSWER_BYTES_MAX", room)
        assert len(await replica.proven([PRESENT] * 3)) == expected, room


@dataclass
class Sparing(LedgerNode):
    """Answers for two keys at a time, and its chain goes on after each answer."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    spoil: Callable[[node.GetStateProofsResponse], None] | None = None

    async def GetStateProofs(
        self, request: node.GetStateProofsRequest, context: Any
    ) -> node.GetStateProofsResponse:
        self.asked.append((len(request.keys), request.height))
        answer = await super().GetStateProofs(request, context)
        if self.spoil is None:
            del answer.values[2:]
            self.chain.call("reports", "report", {"count": 1, "broken": False})
        else:
            self.spoil(answer)
        return answer


@pytest.fixture
async def sparing() -> AsyncIterator[tuple[Sparing, ChainClient]]:
    _, chain = link_chains()
    chain.call("reports", "report", {"count": 1, "broken": False})
    serving = Sparing(chain)
    await serving.start()
    async with serving.client(KEYS.provider, identity_of(chain, KEYS)) as client:
        yield serving, client
    await serving.stop()


async def test_a_client_asks_for_the_rest_at_the_height_of_the_first_answer(
    sparing: tuple[Sparing, ChainClient],
) -> None:
    serving, client = sparing
    keys = [f"packets/{number}" for number in range(STATE_KEYS_MAX)] + ["identity/parameters"] * 2
    begun = serving.chain.header.height
    states = await client.get_state_proofs(keys)
    assert [state.key.decode() for state in states] == keys
    assert [state.value is not None for state in states] == [False] * STATE_KEYS_MAX + [True] * 2
    assert {state.header.height for state in states} == {begun}
    assert serving.chain.header.height > begun + 1
    assert serving.asked[:2] == [(STATE_KEYS_MAX, 0), (STATE_KEYS_MAX, begun)]
    assert await client.get_state_proofs([]) == []


def answers_nothing(answer: node.GetStateProofsResponse) -> None:
    del answer.values[:]


def answers_more(answer: node.GetStateProofsResponse) -> None:
    answer.values.append(answer.values[0])


def confuses_keys(answer: node.GetStateProofsResponse) -> None:
    first, second = answer.values
    del answer.values[:]
    answer.values.extend((second, first))


def hides_a_value(answer: node.GetStateProofsResponse) -> None:
    answer.values[1].present = False
    answer.values[1].value = b""


def changes_a_value(answer: node.GetStateProofsResponse) -> None:
    answer.values[1].value += b" "


def has_half_a_proof(answer: node.GetStateProofsResponse) -> None:
    answer.values[0].proof = answer.values[0].proof[:-1]


def has_no_quorum(answer: node.GetStateProofsResponse) -> None:
    flipped = bytearray(answer.certified_header.certificate)
    flipped[-1] ^= 1
    answer.certified_header.certificate = bytes(flipped)


LIES = [
    answers_nothing,
    answers_more,
    confuses_keys,
    hides_a_value,
    changes_a_value,
    has_half_a_proof,
    has_no_quorum,
]


@pytest.mark.req("G2-07-3")
@pytest.mark.parametrize("lie", LIES)
async def test_a_client_believes_no_answer_that_is_not_proven(
    sparing: tuple[Sparing, ChainClient], lie: Callable[[node.GetStateProofsResponse], None]
) -> None:
    serving, client = sparing
    keys = ["packets/nothing", "identity/parameters"]
    serving.spoil = lambda answer: None
    assert [state.value is None for state in await client.get_state_proofs(keys)] == [True, False]
    serving.spoil = lie
    with pytest.raises(ProofError):
        await client.get_state_proofs(keys)


async def test_a_client_takes_no_answer_of_another_height(
    sparing: tuple[Sparing, ChainClient],
) -> None:
    serving, client = sparing
    serving.spoil = lambda answer: None
    serving.chain.call("reports", "report", {"count": 1, "broken": False})
    with pytest.raises(NotFoundError):
        await client.get_state_proofs(["packets/nothing"], 1_000)
    answer = await serving.GetStateProofs(
        node.GetStateProofsRequest(keys=[b"packets/nothing"], height=2), None
    )
    trusted = serving.trust.replica_set
    assert verify_states(answer, [b"packets/nothing"], 2, trusted, KEYS.provider.verify)
    with pytest.raises(ProofError, match="height 1 was asked for"):
        verify_states(answer, [b"packets/nothing"], 1, trusted, KEYS.provider.verify)
    one = node.GetStateProofResponse(
        certified_header=answer.certified_header, proof=answer.values[0].proof
    )
    with pytest.raises(ProofError, match="height 1 was asked for"):
        verify_state(one, b"packets/nothing", 1, trusted, KEYS.provider.verify)
