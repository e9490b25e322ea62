"""A network that the tests of a file share: it is brought up once and ends with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.harness import OneMachine


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    """A network that runs and holds nothing yet."""
    machine = OneMachine(tmp_path_factory.mktemp("network") / "data")
    try:
        machine.up()
        yield machine
    finally:
        machine.close()
