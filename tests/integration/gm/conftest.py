"""A network with two replicas, and a foreign network."""

from __future__ import annotations

from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import GmProvider, open_provider
from tests.integration.gm.gm_network import Network


@pytest.fixture(scope="session")
def provider() -> GmProvider:
    return open_provider()


@pytest.fixture
def network(provider: GmProvider, tmp_path: Path) -> Network:
    return Network(provider, tmp_path / "ours")


@pytest.fixture
def foreign(provider: GmProvider, tmp_path: Path) -> Network:
    return Network(provider, tmp_path / "theirs")
