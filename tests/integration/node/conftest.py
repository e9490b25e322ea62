"""What tests of replicas in one process share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.plugins.chain_network import ChainNetwork


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    """A chain of the test's own `network`; no replica runs yet."""
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        yield chain
