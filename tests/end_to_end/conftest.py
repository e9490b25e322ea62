"""A network that the tests of a file share: it is brought up once and ends with them. Where tests
run in several processes, those that share a network run in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.end_to_end.harness import OneMachine

HERE: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Keep a file together, and the folder whose files share a network."""
    for item in items:
        if item.path.is_relative_to(HERE):
            group = item.path.relative_to(HERE).parts[0]
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneMachine]:
    """A network that runs and holds nothing yet."""
    machine = OneMachine(tmp_path_factory.mktemp("network") / "data")
    try:
        machine.up()
        yield machine
    finally:
        machine.close()
