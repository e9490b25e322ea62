"""A network, a foreign network, and both event loops: development's and production's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

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


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy
