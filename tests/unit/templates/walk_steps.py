"""What walks are made of: a method and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Step:
    """A method and what it is given."""

    method: str
    arguments: dict[str, Any]

    def spoiled(self, **changes: Any) -> Step:
        """The same with other arguments."""
        return Step(self.method, self.arguments | changes)


def step(method: str, /, **arguments: Any) -> Step:
    """One step of a walk."""
    return Step(method, arguments)


Walk = list[Step]
Spoiled = tuple[Walk, Step, str]
"""Steps that end well, one that does not, and the code of its refusal."""

DIGEST: Final = "5a" * 32
USCC: Final = "91370199MA9900300A"
