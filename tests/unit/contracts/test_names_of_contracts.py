"""Names that no deployed contract may have: those of the chain's own contracts."""

from __future__ import annotations

import pytest

from services.consensus.domain.contracts.catalogue import Catalogue, standard_catalogue
from services.consensus.domain.contracts.deployment_template import RELEASE
from services.consensus.domain.contracts.deployments import (
    RESERVED,
    DeploymentsContract,
    reserved_in,
)
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.identity import IdentityContract
from tests.unit.contracts.star_chain import ask, deploy, star_chain, star_genesis
from tests.unit.contracts.test_deployments import SOURCE, body_of
from tests.unit.ledger.chain_builder import MemoryChain, genesis_of


def test_every_contract_in_python_keeps_its_name() -> None:
    """The list is a rule of each version, and so no function of what this software carries."""
    carried = {name for name, _ in standard_catalogue()._contracts}
    assert carried <= reserved_in(5)


def test_a_name_that_a_later_version_reserves_is_free_in_those_before() -> None:
    """What a chain let in once must be let in whenever its blocks are executed again."""
    chain = star_chain()
    assert ask(chain, "A", "deploy", body_of("observed")).accepted
    catalogue = Catalogue([IdentityContract(), GovernanceContract(), DeploymentsContract(5)])
    value = star_genesis()
    value["contracts"][2]["version"] = 5
    later = MemoryChain(genesis_of(value), catalogue)
    body = {**body_of("observed"), **dict.fromkeys(RELEASE)}
    assert ask(later, "A", "deploy", body).code == "CONTRACT_NAME_TAKEN"


@pytest.mark.parametrize("name", [*sorted(RESERVED), "counter"])
def test_a_name_that_is_taken_or_reserved_is_refused(name: str) -> None:
    chain = star_chain()
    deploy(chain, "counter", SOURCE)
    assert ask(chain, "A", "deploy", body_of(name)).code == "CONTRACT_NAME_TAKEN"


def test_the_chains_own_contracts_keep_their_names_before_they_are_active() -> None:
    value = star_genesis()
    value["contracts"].append({"name": "bonds", "version": 1, "from_height": 1_000})
    chain = MemoryChain(genesis_of(value), star_chain().catalogue)
    assert ask(chain, "A", "deploy", body_of("bonds")).code == "CONTRACT_NAME_TAKEN"
