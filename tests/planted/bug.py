"""A known mistake as a patch, and what must notice it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

CORE: Final = "services/consensus/domain"
CONSENSUS_TESTS: Final = "tests/unit/consensus"


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake. `test` replaces the simulator. `also` are more places to change, as file, old
    and new. Chosen runs beside the campaign's: the named `scenarios`, then seeds of storms
    with `strategies`, `size` or set changes (`governed`), or with liars that keep blocks
    from becoming final (`withheld`).
    """

    row: str
    name: str
    file: str
    old: str
    new: str
    strategies: tuple[str, ...] = ()
    size: int | None = None
    test: str = ""
    rules: tuple[str, ...] = ()
    also: tuple[tuple[str, str, str], ...] = ()
    governed: bool | None = None
    withheld: bool = False
    scenarios: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[tuple[str, str, str], ...]:
        """All that is changed."""
        return ((self.file, self.old, self.new), *self.also)

    def to_json(self) -> str:
        """The form in which a scratch copy is told of it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Bug:
        """Read what `to_json` wrote: lists there are tuples here."""
        return Bug(**{name: _tuples(value) for name, value in json.loads(text).items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
