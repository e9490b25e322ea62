"""The register contract by version: which operations each version answers to.

A method outside the version's list does not exist there: the host answers METHOD_UNKNOWN. A later
version adds operations and leaves what was recorded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.consensus.domain.contracts.host import Method
from services.consensus.domain.contracts.register import reference_data
from services.consensus.domain.contracts.register.operations.capital_increase import (
    capital_increase,
)
from services.consensus.domain.contracts.register.operations.close_account import close_account
from services.consensus.domain.contracts.register.operations.confirm_holding import confirm_holding
from services.consensus.domain.contracts.register.operations.dividend import dividend
from services.consensus.domain.contracts.register.operations.freeze import freeze
from services.consensus.domain.contracts.register.operations.initial_registration import (
    initial_registration,
)
from services.consensus.domain.contracts.register.operations.open_account import open_account
from services.consensus.domain.contracts.register.operations.pledge import pledge, release_pledge
from services.consensus.domain.contracts.register.operations.register_company import (
    register_company,
)
from services.consensus.domain.contracts.register.operations.transfer import transfer
from services.consensus.domain.contracts.register.operations.unfreeze import deduct, unfreeze

NAME: Final = "register"

OPERATIONS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "register_company": register_company,
        "open_account": open_account,
        "initial_registration": initial_registration,
        "transfer": transfer,
        "confirm_holding": confirm_holding,
        "pledge": pledge,
        "release_pledge": release_pledge,
        "freeze": freeze,
        "unfreeze": unfreeze,
        "deduct": deduct,
        "capital_increase": capital_increase,
        "dividend": dividend,
        "close_account": close_account,
    }
)

REFERENCE_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "configure_market": reference_data.configure_market,
        "put_trading_days": reference_data.put_trading_days,
        "put_companies": reference_data.put_companies,
        "put_products": reference_data.put_products,
        "put_investors": reference_data.put_investors,
        "close_historic_import": reference_data.close_historic_import,
    }
)

BUILT: Final = ("register_company", "open_account", "initial_registration", "transfer")
"""The operations of version 1."""


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
        return {**REFERENCE_METHODS, **{name: OPERATIONS[name] for name in self.operations}}


REGISTER_V1: Final = RegisterContract(version=1, operations=BUILT)
REGISTER_V2: Final = RegisterContract(version=2, operations=(*OPERATIONS,))
"""All of them."""
