"""The contracts that this software can execute, by name and version.

Genesis says which of them are active from which height; software that lacks one of these refuses to
start rather than to differ from the other replicas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from services.consensus.domain.contracts.calendar import CalendarContract
from services.consensus.domain.contracts.chains import ChainsContract
from services.consensus.domain.contracts.deployments import DeploymentsContract
from services.consensus.domain.contracts.documents import DocumentsContract
from services.consensus.domain.contracts.evidence import EvidenceContract
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.host import Contract
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.contracts.light_client import LightClientContract
from services.consensus.domain.contracts.notices import NoticesContract
from services.consensus.domain.contracts.objects import ObjectsContract
from services.consensus.domain.contracts.observed import ObservedContract
from services.consensus.domain.contracts.packet_link.contract import LinkedPacketsContract
from services.consensus.domain.contracts.packets import PacketsContract
from services.consensus.domain.contracts.register.contract import (
    REGISTER_V3,
    REGISTER_V4,
    REGISTER_V5,
)
from services.consensus.domain.contracts.services import ServicesContract
from services.consensus.domain.contracts.templates import TemplatesContract

if TYPE_CHECKING:
    from services.consensus.domain.ledger.genesis import ContractActivation, Genesis


class Catalogue:
    """An immutable set of contracts; one object a (name, version)."""

    __slots__ = ("_contracts",)

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self._contracts: dict[tuple[str, int], Contract] = {}
        for contract in contracts:
            key = (contract.name, contract.version)
            assert key not in self._contracts, f"{key} is in the catalogue twice"
            self._contracts[key] = contract

    def find(self, name: str, version: int) -> Contract | None:
        """Return that version of the contract, or None when this software lacks it."""
        return self._contracts.get((name, version))

    def plus(self, contract: Contract) -> Catalogue:
        """Return these and one more."""
        return Catalogue([*self._contracts.values(), contract])

    def missing(self, genesis: Genesis) -> ContractActivation | None:
        """The first contract of the chain that this software lacks: it may not take part."""
        lacked = (each for each in genesis.contracts if not self.find(each.name, each.version))
        return next(lacked, None)


def standard_catalogue() -> Catalogue:
    """The contracts that this release carries."""
    return Catalogue(
        [
            CalendarContract(1),
            CalendarContract(2),
            ChainsContract(1),
            ChainsContract(2),
            ChainsContract(3),
            ChainsContract(4),
            DeploymentsContract(1),
            DeploymentsContract(2),
            DeploymentsContract(3),
            DeploymentsContract(4),
            DeploymentsContract(5),
            DocumentsContract(1),
            DocumentsContract(2),
            EvidenceContract(1),
            EvidenceContract(2),
            GovernanceContract(),
            IdentityContract(),
            REGISTER_V3,
            REGISTER_V4,
            REGISTER_V5,
            LightClientContract(1),
            LightClientContract(2),
            LightClientContract(3),
            LightClientContract(4),
            NoticesContract(1),
            NoticesContract(2),
            NoticesContract(3),
            ObjectsContract(1),
            ObjectsContract(2),
            ObservedContract(1),
            ObservedContract(2),
            PacketsContract(1),
            PacketsContract(2),
            LinkedPacketsContract(3),
            LinkedPacketsContract(4),
            LinkedPacketsContract(5),
            ServicesContract(),
            TemplatesContract(1),
            TemplatesContract(2),
        ]
    )
