"""A network with market-basic imported, brought up once for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.demo.checks import wait_anchored
from tests.end_to_end.harness import BASIC, BASIC_ANCHORED, Answer, OneMachine


@dataclass(frozen=True, slots=True)
class Market:
    """A network that holds market-basic, and how its import ended."""

    machine: OneMachine
    imported: Answer
    results: bytes


@pytest.fixture(scope="package")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A network with market-basic imported. Tests leave its register as it is."""
    folder: Path = tmp_path_factory.mktemp("market")
    machine = OneMachine(folder / "data")
    try:
        machine.up()
        imported = machine.must("import", BASIC, "--results", folder / "results.csv", "-o", "json")
        # What its acknowledgements still change on the chain is over before tests look at it.
        asyncio.run(wait_anchored(machine.network, open_provider(), BASIC_ANCHORED))
        yield Market(machine, imported, (folder / "results.csv").read_bytes())
    finally:
        machine.close()
