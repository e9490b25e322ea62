"""Networks that tests share: each is brought up once and ends with the tests that use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.harness import BASIC, Answer, OneMachine


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    """A network that runs and holds nothing yet."""
    machine = OneMachine(tmp_path_factory.mktemp("network") / "data")
    try:
        machine.up()
        yield machine
    finally:
        machine.close()


@dataclass(frozen=True, slots=True)
class Market:
    """A network that holds market-basic, and how its import ended."""

    machine: OneMachine
    imported: Answer
    results: bytes


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A network with market-basic imported. Tests leave its register as it is."""
    folder: Path = tmp_path_factory.mktemp("market")
    machine = OneMachine(folder / "data")
    try:
        machine.up()
        imported = machine.must("import", BASIC, "--results", folder / "results.csv", "-o", "json")
        yield Market(machine, imported, (folder / "results.csv").read_bytes())
    finally:
        machine.close()
