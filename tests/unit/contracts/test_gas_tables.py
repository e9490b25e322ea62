"""Chains that began with the first table of gas, and those that began with the present one."""

from __future__ import annotations

import pytest

from services.consensus.domain.contracts.deployed import FIRST_GAS, PRESENT_GAS, GasRules
from services.consensus.domain.ledger.genesis import GenesisError
from tests.unit.contracts.star_chain import (
    ask,
    call,
    deploy,
    facts,
    star_chain,
    star_genesis,
    stored,
)
from tests.unit.ledger.chain_builder import MemoryChain, genesis_of

SEARCH = 'def f(n):\n    return ("a" * n).find("a" * (n // 2) + "ba")\n'


def rules_of(chain: MemoryChain) -> GasRules:
    return GasRules.from_json(stored(chain, "contracts", f"gas/{1:020d}"))


@pytest.mark.parametrize("is_first", [True, False])
def test_a_chain_keeps_to_the_prices_that_it_began_with(*, is_first: bool) -> None:
    """A table of the other kind is refused, as by releases that know one kind only."""
    mine, other = (FIRST_GAS, PRESENT_GAS) if is_first else (PRESENT_GAS, FIRST_GAS)
    chain = star_chain(prices=mine.to_json()["prices"])
    assert rules_of(chain) == mine
    body = {"transaction_limit": 600_000, "block_limit": 1_500_000}
    receipt = ask(chain, "A", "set_gas", {**body, "prices": other.to_json()["prices"]})
    assert (receipt.code, facts(receipt)["field"]) == ("BODY_MALFORMED", "gas")
    assert ask(chain, "A", "set_gas", {**body, "prices": mine.to_json()["prices"]}).accepted


def test_a_genesis_file_that_names_no_prices_means_the_first_ones() -> None:
    """Its record has no more members than it ever had: the state of an old chain stays."""
    chain = star_chain()
    assert rules_of(chain) == FIRST_GAS
    record = stored(chain, "contracts", f"gas/{1:020d}")
    assert sorted(record["prices"]) == sorted(
        ["node", "call", "element", "bytes", "read", "write", "scan", "emit", "digest"]
    )


def test_a_search_is_paid_by_the_table_that_the_chain_has() -> None:
    used = []
    for rules in (FIRST_GAS, PRESENT_GAS):
        chain = star_chain(prices=rules.to_json()["prices"])
        deploy(chain, "search", SEARCH)
        used.append(facts(call(chain, "search", "f", n=2_400))["gas"])
    assert used[1] - used[0] == 2_400 * 1_202 // 1_024


@pytest.mark.parametrize("left_out", ["search", "key", "name"])
def test_a_table_of_neither_kind_is_no_part_of_a_genesis_file(left_out: str) -> None:
    rules = PRESENT_GAS.to_json()
    prices = rules["prices"]
    assert isinstance(prices, dict)
    del prices[left_out]
    with pytest.raises(GenesisError, match="star/1"):
        genesis_of(star_genesis(rules))
