"""The register contract by version: which operations each version answers to.

A method outside the version's list does not exist there: the host answers METHOD_UNKNOWN. A later
version adds operations and leaves what was recorded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from services.consensus.domain.contracts.host import Method
from services.consensus.domain.contracts.register.program import run

NAME: Final = "register"

OPERATIONS: Final = (
    "register_company",
    "open_account",
    "initial_registration",
    "transfer",
    "confirm_holding",
    "pledge",
    "release_pledge",
    "freeze",
    "unfreeze",
    "deduct",
    "capital_increase",
    "dividend",
    "close_account",
)

CORPORATE_ACTIONS: Final = (
    "bonus_issue",
    "reserve_conversion",
    "share_split",
    "capital_reduction",
    "buy_back",
)
"""Each changes the positions of a product's holders in one operation (SM-17)."""

REFERENCE_METHODS: Final = (
    "configure_market",
    "put_trading_days",
    "put_companies",
    "put_products",
    "put_investors",
    "close_historic_import",
)

METHODS: Final[Mapping[str, Method]] = {
    name: partial(run, name) for name in (*REFERENCE_METHODS, *OPERATIONS, *CORPORATE_ACTIONS)
}
MARKED_FROM: Final = 4
"""The version that marks the source of what it sends."""


@dataclass(frozen=True, slots=True)
class RegisterContract:
    """The register with a chosen list of operations."""

    version: int
    operations: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the namespace of the register's keys."""
        return NAME

    def methods(self) -> Mapping[str, Method]:
        """Return the active methods by name."""
        names = (*REFERENCE_METHODS, *self.operations)
        if self.version < MARKED_FROM:
            return {name: METHODS[name] for name in names}
        return {name: partial(run, name, marked_as=self.version) for name in names}


REGISTER_V3: Final = RegisterContract(version=3, operations=OPERATIONS)
REGISTER_V4: Final = RegisterContract(version=4, operations=OPERATIONS)
REGISTER_V5: Final = RegisterContract(version=5, operations=(*OPERATIONS, *CORPORATE_ACTIONS))
"""The rules of `guqiao_sdk.register_rules`; version 4 marks the source of its data objects, version
5 has the corporate actions. A chain whose genesis names another version needs other software."""
