"""What a client's transaction is judged by takes no time from the loop, on which votes are counted.

A document in the clear may be long, and is searched for numbers of persons before it is ordered.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from services.consensus import transaction_intake
from services.consensus.domain.ledger.authorisation import check_stateful
from tests.integration.node.memory_chain import MemoryChain
from tests.integration.node.test_set_changes_in_memory import ROLES, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", roles=ROLES, parameters=parameters)


async def test_the_state_is_asked_in_a_thread(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_by: list[int] = []

    def noting(*given: Any, **also: Any) -> Any:
        asked_by.append(threading.get_ident())
        return check_stateful(*given, **also)

    monkeypatch.setattr(transaction_intake, "check_stateful", noting)
    members = [await chain.start(number) for number in range(4)]
    await register(members[1], network, "somebody")
    assert asked_by
    assert threading.get_ident() not in asked_by
