"""What compiled closures work on: a frame for each call of a function, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from services.consensus.domain.contracts.star.faults import OutOfGas
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.ir import Access, Node
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.names import Signature
from services.consensus.domain.contracts.star.port import StarHost
from services.consensus.domain.contracts.star.values import StarDict, StarList, Value, set_entry


@dataclass(slots=True)
class Run:
    """One call: what it has left, and the chain as it sees it."""

    meter: Meter
    host: StarHost
    access: Access
    lines: LineGas | None = None
    """Where a watched program counts its gas."""


Frame: TypeAlias = list[Any]
Expression: TypeAlias = Callable[[Frame], Value]
Statement: TypeAlias = Callable[[Frame], "Signal"]

Signal: TypeAlias = object
"""What a statement says: None to go on, `BREAK`, `CONTINUE`, or a value to return, in a tuple."""
BREAK: Final = object()
CONTINUE: Final = object()
UNBOUND: Final = object()
FRAME_HEAD: Final = 2
"""A frame begins with the meter and the run; the places of names follow."""


Remembered: TypeAlias = tuple[Value, int, int]
"""What a call came to, the gas that it used, and the memory that it made."""


@dataclass(slots=True)
class Function:
    """A compiled function; its body is filled in once all functions are known."""

    signature: Signature
    defaults: list[Value]
    body: Statement = field(default=lambda frame: None)
    names: frozenset[str] = field(init=False)
    size: int = 0
    unset: tuple[object, ...] = ()
    """What its frame has at first behind the arguments."""
    price: int = 0
    """Of a call, with the places of its names."""
    remembered: dict[str, Remembered] | None = None
    """By its one argument, where what it comes to follows from that and may be kept."""

    def __post_init__(self) -> None:
        self.names = frozenset(self.signature.names)

    def run(self, run: Run, arguments: list[Value]) -> Value:
        """Call it with all of its arguments."""
        meter = run.meter
        meter.gas = gas = meter.gas - self.price
        if gas < 0:
            raise OutOfGas
        frame: Frame = [meter, run, *arguments, *self.unset]
        ended = self.body(frame)
        return ended[0] if type(ended) is tuple else None


def literal(node: Node) -> Value:
    """The value of a literal of a checked form."""
    match node[0]:
        case "int":
            return int(node[2])
        case "negative":
            return -int(node[2][2])
        case "str" | "bool":
            value: Value = node[2]
            return value
        case "list":
            return StarList(literal(part) for part in node[2:])
        case "dict":
            entries = StarDict()
            unmetered = Meter.boundless()
            for key, part in zip(node[2::2], node[3::2], strict=True):
                set_entry(unmetered, entries, literal(key), literal(part))
            return entries
        case _:
            return None
