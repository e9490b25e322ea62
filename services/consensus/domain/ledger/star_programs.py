"""Compiled contracts of star/1, kept by the hash of what they were compiled from.

A call finds its program here or compiles it from the state. Which of both it was shows in nothing
but time: what is kept is bounded, and gas is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.gas import GasTable
from services.consensus.domain.contracts.star.program import Program

PROGRAMS_MAX: Final = 128
FORM_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the forms of all that is kept; a program takes about 24 times as much."""

_Key: TypeAlias = tuple[str, GasTable]


class StarPrograms:
    """Of one replica, used by one thread at a time. The one that was used longest ago gives way."""

    __slots__ = ("_bytes", "_bytes_max", "_count_max", "_kept", "compiled")

    def __init__(self, count_max: int = PROGRAMS_MAX, bytes_max: int = FORM_BYTES_MAX) -> None:
        self._kept: OrderedDict[_Key, tuple[Program, int]] = OrderedDict()
        self._count_max, self._bytes_max = count_max, bytes_max
        self._bytes = 0
        self.compiled = 0
        """How often a program was not here."""

    def find(self, digest: str, table: GasTable, form: Callable[[], bytes]) -> Program:
        """The program with this digest; `form` gives what it is compiled from."""
        key = (digest, table)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found[0]
        data = form()
        module = read_form(data)
        assert module.digest.hex() == digest, "the state holds another form than it names"
        program = Program(module, table)
        self.compiled += 1
        self._keep(key, program, len(data))
        return program

    def _keep(self, key: _Key, program: Program, size: int) -> None:
        self._kept[key] = program, size
        self._bytes += size
        while self._kept and (len(self._kept) > self._count_max or self._bytes > self._bytes_max):
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone
