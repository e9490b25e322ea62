"""A known mistake as a patch, and what must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CORE: Final = "services/consensus/domain"
CONSENSUS_TESTS: Final = "tests/unit/consensus"


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake. `first` is the chosen seed to begin with; `test` replaces the simulator."""

    row: str
    name: str
    file: str
    old: str
    new: str
    strategies: tuple[str, ...] = ()
    size: int | None = None
    first: int = 1
    test: str = ""
    rules: tuple[str, ...] = ()
