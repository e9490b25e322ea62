"""The tiers of a contract's template while it is being called: on a chain and at home alike.

What the checks look at is paid for before it is looked at, one element of the gas table for each
character (`guqiao_sdk.personal_writing` says what costs how many).
"""

from __future__ import annotations

from collections.abc import Mapping

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.template.tiers import TierMap, check_call


class TierGuard:
    """Stands before the writes and events of one contract, and is paid by the call's meter."""

    __slots__ = ("_meter", "_tiers")

    def __init__(self, tiers: TierMap, meter: Meter) -> None:
        self._tiers = tiers
        self._meter = meter

    def arguments(self, arguments: Mapping[str, Json]) -> None:
        """Raise `ContractError`, `OutOfGas` for what no transaction may hold, or no caller give."""
        tiers = self._tiers
        check_call(tiers.shapes, arguments, pay=self._pay, search=tiers.search)

    def passed(self, arguments: Mapping[str, Json]) -> None:
        """The same of what another contract passes, for templates of format 2: those of format 1
        say nothing of the shape of an argument, and the transaction's own were judged.
        """
        if self._tiers.shapes is not None:
            self.arguments(arguments)

    def write(self, key: str, value: Json) -> None:
        """Raise `ContractError`, `OutOfGas` for a write in the wrong tier."""
        self._tiers.check_write(key, value, pay=self._pay)

    def event(self, body: Json) -> None:
        """Raise `ContractError`, `OutOfGas` for an event that not everybody may read."""
        self._tiers.check_event(body, pay=self._pay)

    def told(self, answer: Json) -> None:
        """Raise `ContractError`, `OutOfGas` for an answer that no receipt may hold."""
        self._tiers.check_answer(answer, pay=self._pay)

    def _pay(self, characters: int) -> None:
        self._meter.charge(characters * self._meter.table.element)
