"""A known mistake as a patch, and what must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CORE: Final = "services/consensus/domain"
CONSENSUS_TESTS: Final = "tests/unit/consensus"


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake. `first` is the chosen seed to begin with; `test` replaces the simulator.
    `also` are more places to change, as file, old and new; `governed` demands set changes of chosen
    seeds, `lost` that their quorum is lost and the chain restarted, `withheld` that liars keep
    blocks from becoming final.
    """

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
    also: tuple[tuple[str, str, str], ...] = ()
    governed: bool | None = None
    lost: bool = False
    withheld: bool = False

    @property
    def places(self) -> tuple[tuple[str, str, str], ...]:
        """All that is changed."""
        return ((self.file, self.old, self.new), *self.also)
