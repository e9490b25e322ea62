"""What only the CSRC may do on the regulatory chain: a market, a province, an account that nobody
knows and one side of the CSRC alone are each refused, and told which role it takes.

Which methods these are is found by calling every method of the chain as somebody who holds all
other roles. The table has to name the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import pytest

from guqiao_sdk import roles, rules
from guqiao_sdk.proof.receipt import Receipt
from guqiaoctl.network.genesis import CONTRACTS, VERSIONS
from services.consensus.domain.contracts.catalogue import standard_catalogue
from services.consensus.domain.contracts.host import Contract
from services.consensus.domain.contracts.identity_record import IdentityRecord
from tests.unit.xchain.ledger_chain import CONTRACTS as OF_EVERY_CHAIN
from tests.unit.xchain.ledger_chain import LedgerChain
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    BY_OPERATOR,
    CHECKER,
    EVERYBODY,
    KEYS,
    MARKET_SIDE,
    OPERATOR,
    OTHER,
    REGULATOR,
    TECH_SIDE,
    detail,
    identity,
)

pytestmark = pytest.mark.req("G2-03-2")

OF_CSRC: Final = frozenset({roles.CSRC_MARKET, roles.CSRC_TECH})
BOTH: Final = "both sides"
TECH: Final = "the technical side"
ONLY_CSRC: Final = {
    "calendar": {"publish": BOTH},
    "chains": {
        "accept_update": TECH,
        "approve": BOTH,
        "deregister": BOTH,
        "distrust_root": BOTH,
        "exempt": BOTH,
        "propose_client": TECH,
        "replace_client": BOTH,
        "report": TECH,
        "start_test": TECH,
        "trust_root": BOTH,
    },
    "notices": {
        "ack": BOTH,
        "adopt": BOTH,
        "close": BOTH,
        "compare": TECH,
        "fail_test": TECH,
        "object": BOTH,
        "open_test": TECH,
        "pass_test": TECH,
        "review": BOTH,
        "verify": TECH,
        "waive": BOTH,
    },
    "observed": {"begin": BOTH, "replace": BOTH},
    "packets": {
        "close_breaker": BOTH,
        "pause": BOTH,
        "resume": BOTH,
        "send_message": BOTH,
        "set_limits": BOTH,
    },
    "templates": {"accept": BOTH, "give_back": BOTH, "publish": BOTH, "retire": BOTH},
}
"""By contract and method, who has to sign. `packets.give_up` is a relayer's as well."""

METHODS: Final = [
    (contract, method) for contract, methods in ONLY_CSRC.items() for method in methods
]
STRANGER: Final = identity("stranger", OTHER, "operator_maker")
ALL_ELSE: Final = sorted({*roles.CHAIN_READERS, roles.REPLICA} - OF_CSRC - {roles.GOVERNOR})
EVERY_OTHER_ROLE: Final = (
    identity("all", OPERATOR, *ALL_ELSE),
    identity("all-too", OPERATOR, *ALL_ELSE),
)


def active() -> list[Contract]:
    """The contracts of a regulatory chain that begins now, in their versions."""
    found = [standard_catalogue().find(name, VERSIONS.get(name, 1)) for name in CONTRACTS["csrc"]]
    assert None not in found
    return [each for each in found if each is not None]


@cache
def chain() -> LedgerChain:
    """One for all: what is refused leaves nothing."""
    return LedgerChain(
        "csrc",
        KEYS,
        destination=None,
        remotes={},
        others=(*EVERYBODY, *EVERY_OTHER_ROLE),
        contracts=[each for each in active() if each.name not in OF_EVERY_CHAIN],
        packets_version=VERSIONS["packets"],
        client_version=VERSIONS["light_client"],
    )


def call(contract: str, method: str, signers: tuple[IdentityRecord, ...]) -> Receipt:
    """A body that says nothing: who may not call is refused before it is read."""
    transaction = chain().transaction(contract, str(method), {}, signers=signers)
    return chain().execute(transaction).receipts[0]


def asked_for(receipt: Receipt) -> set[str]:
    """The roles that a refusal names; none where it is for another reason."""
    if receipt.code != "ROLE_MISSING":
        return set()
    facts = detail(receipt)
    named: Any = facts.get("allowed") or [facts.get("roles") or facts.get("role")]
    return set(named)


def test_the_table_names_each_method_that_takes_a_role_of_the_csrc() -> None:
    found: dict[str, set[str]] = {}
    for contract in active():
        for method in contract.methods():
            receipt = call(contract.name, method, EVERY_OTHER_ROLE)
            assert not receipt.accepted, (contract.name, method)
            if asked_for(receipt) & OF_CSRC:
                found.setdefault(contract.name, set()).add(str(method))
    assert found == {contract: {*methods} for contract, methods in ONLY_CSRC.items()}


@pytest.mark.parametrize(("contract", "method"), METHODS)
def test_nobody_else_does_what_only_the_csrc_may(contract: str, method: str) -> None:
    needed = ONLY_CSRC[contract][method]
    first = roles.CSRC_MARKET if needed == BOTH else roles.CSRC_TECH
    others = (BY_OPERATOR, (REGULATOR,), (REGULATOR, TECH_SIDE), EVERY_OTHER_ROLE)
    for signers in others:
        receipt = call(contract, method, signers)
        assert (receipt.code, asked_for(receipt)) == ("ROLE_MISSING", {first})
        _is_told(receipt, first)
    unknown = call(contract, method, (STRANGER,))
    assert (unknown.code, unknown.accepted) == ("SENDER_UNKNOWN", False)
    _is_told(unknown, "")


@pytest.mark.parametrize(("contract", "method"), METHODS)
def test_who_may_call_gets_as_far_as_the_body(contract: str, method: str) -> None:
    """So that the refusals above are of the caller, and of nothing else."""
    signers = BOTH_SIDES if ONLY_CSRC[contract][method] == BOTH else (TECH_SIDE,)
    receipt = call(contract, method, signers)
    assert receipt.code not in ("ROLE_MISSING", "CHECKER_MISSING", "METHOD_UNKNOWN"), receipt.code
    assert not receipt.accepted


@pytest.mark.parametrize(
    ("contract", "method"),
    [row for row in METHODS if ONLY_CSRC[row[0]][row[1]] == BOTH],
)
def test_one_side_of_the_csrc_alone_is_not_enough(contract: str, method: str) -> None:
    alone = call(contract, method, (MARKET_SIDE,))
    assert (alone.code, detail(alone)["roles"]) == ("CHECKER_MISSING", roles.CSRC_TECH)
    _is_told(alone, "")
    for second in (CHECKER, REGULATOR):
        receipt = call(contract, method, (MARKET_SIDE, second))
        assert (receipt.code, asked_for(receipt)) == ("ROLE_MISSING", {roles.CSRC_TECH})
    reversed_sides = call(contract, method, (TECH_SIDE, MARKET_SIDE))
    assert (reversed_sides.code, asked_for(reversed_sides)) == (
        "ROLE_MISSING",
        {roles.CSRC_MARKET},
    )


def _is_told(receipt: Receipt, role: str) -> None:
    """What to do stands in both languages, and, where it takes a role, which."""
    texts = rules.messages(receipt.code, **detail(receipt))
    assert texts.remedy_zh
    assert texts.remedy_en
    for text in (texts.zh, texts.en):
        assert role in text
        assert "(not given)" not in text
        assert "（未给出）" not in text
