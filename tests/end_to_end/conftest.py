"""Networks that tests share: each is brought up once and ends with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.end_to_end.harness import OneMachine

MARKET: Final = "tests/end_to_end/market/"


class SharedNetworks(LoadFileScheduling):
    """The tests of a file, and those of the folder that shares one network, run in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return MARKET if nodeid.startswith(MARKET) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedNetworks | None:
    """For `--dist loadfile`."""
    return SharedNetworks(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    """A network that runs and holds nothing yet but the registration of the market's chain."""
    yield from _running(OneMachine(tmp_path_factory.mktemp("network") / "data"))


@pytest.fixture(scope="module")
def unregistered_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    """The same without it."""
    yield from _running(OneMachine(tmp_path_factory.mktemp("network") / "data"), "--unregistered")


def _running(machine: OneMachine, *options: str) -> Iterator[OneMachine]:
    try:
        machine.up(*options)
        yield machine
    finally:
        machine.close()
