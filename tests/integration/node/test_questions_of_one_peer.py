"""A peer that asks for the same again and again is answered once, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.consensus import wire
from services.consensus.answering import REPEATS_MAX
from tests.integration.node.memory_chain import memory_chain
from tests.integration.node.test_driver_in_memory import submit, transaction
from tests.integration.node.test_flood_of_one_peer import LIAR, counted
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

ASKED = 200
INTERVAL = 2


def questions(height: int) -> dict[str, bytes]:
    """By the kind of answer."""
    return {
        "state_response": wire.state_request_frame(height, prefix=b"\x01"),
        "block_response": wire.block_request_frame(1, height),
    }


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("kind", ["state_response", "block_response"])
async def test_what_is_asked_at_once_many_times_is_answered_once(tmp_path: Path, kind: str) -> None:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000, "snapshot_interval": INTERVAL}
    network = ChainNetwork.create(tmp_path / "network", parameters=parameters)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        members = [await chain.start(number) for number in range(3)]
        for number in range(INTERVAL):
            await submit(members[0], transaction(network, f"user{number}"))
        asked = members[0]
        await chain.wait_for(lambda: asked.ledger.store.last_certified >= INTERVAL)

        def answers() -> int:
            frames = [wire.read_frame(f) for _, to, f in chain.heard if to == LIAR]
            names = [type(frame).__name__.lower() for frame in frames]
            return names.count(kind.replace("_", ""))

        for _ in range(ASKED):
            asked.intake.on_frame(LIAR, questions(INTERVAL)[kind])
        await chain.wait_for(lambda: answers() == 1)
        assert counted(asked)[LIAR, "flood"] == ASKED - 1 - REPEATS_MAX
        asked.intake.on_frame(LIAR, questions(INTERVAL)[kind])
        await chain.wait_for(lambda: answers() == 2)
        assert counted(asked)[LIAR, "flood"] == ASKED - 1 - REPEATS_MAX
