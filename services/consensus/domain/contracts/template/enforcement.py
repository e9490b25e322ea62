"""The tiers of a contract's template while it is being called: on a chain and at home alike.

What the checks look at is paid for before it is looked at, one element of the gas table for each
character (`guqiao_sdk.personal_writing` says what costs how many).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.template.tiers import TierMap, check_call

CUT_FROM: Final = 64
"""Characters from which on the engine cuts a text in the facts of an error."""


class TierGuard:
    """Stands before the writes and events of one contract, and is paid by the call's meter."""

    __slots__ = ("_meter", "tiers")

    def __init__(self, tiers: TierMap, meter: Meter) -> None:
        self.tiers = tiers
        self._meter = meter

    def arguments(self, arguments: Mapping[str, Json]) -> None:
        """Raise `ContractError`, `OutOfGas` for what no transaction may hold, or no caller give."""
        tiers = self.tiers
        check_call(tiers.shapes, arguments, pay=self._pay, search=tiers.search)

    def passed(self, arguments: Mapping[str, Json]) -> None:
        """The same of what another contract passes, for templates of format 2: those of format 1
        say nothing of the shape of an argument, and the transaction's own were judged.
        """
        if self.tiers.shapes is not None:
            self.arguments(arguments)

    def write(self, key: str, value: Json) -> None:
        """Raise `ContractError`, `OutOfGas` for a write in the wrong tier."""
        self.tiers.check_write(key, value, pay=self._pay)

    def event(self, body: Json) -> None:
        """Raise `ContractError`, `OutOfGas` for an event that not everybody may read."""
        self.tiers.check_event(body, pay=self._pay)

    def told(self, answer: Json) -> None:
        """Raise `ContractError`, `OutOfGas` for an answer that no receipt may hold."""
        self.tiers.check_answer(answer, pay=self._pay)

    def failed(self, error: ContractError) -> None:
        """Search the facts of whatever ended a call, and a code that the contract chose, and take
        from the facts texts that the engine cut: what is left of a number that was cut is found no
        more. Raises `ContractError`, `OutOfGas`.
        """
        try:
            if error.is_refusal:
                self.told(error.code)
            self.told(dict(error.fields))
        except (ContractError, OutOfGas) as found:
            found.line, found.contract = error.line, error.contract
            raise
        if not error.is_refusal and "why" not in error.fields:
            error.fields = {name: _whole(value) for name, value in error.fields.items()}

    def _pay(self, characters: int) -> None:
        self._meter.charge(characters * self._meter.table.element)


def _whole(value: Json) -> Json:
    """A fact of the engine's own; of a text that may have been cut, how much is left out."""
    is_cut = isinstance(value, str) and len(value) >= CUT_FROM
    return {"omitted_characters": len(str(value))} if is_cut else value
