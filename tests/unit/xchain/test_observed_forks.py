"""`observed` after a fork: two headers of one height freeze, people begin anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from guqiao_sdk.proof.fisco.header import header_value, parse_header
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from services.consensus.domain.contracts.identity_record import IdentityRecord
from tests.plugins.fisco_chain import FiscoChain, Row, sign_header
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.observed_chain import (
    CHAIN,
    Observed,
    another_block,
    begun,
    registered,
    rows_of,
)
from tests.unit.xchain.registered_chains import (
    BEIJING_REGULATOR,
    MARKET_SIDE,
    OWN_REGULATOR,
    REGULATOR,
)

pytestmark = pytest.mark.req("T2-13", "T2-14")


@pytest.fixture
def made() -> Observed:
    """Begun at the genesis block, with five blocks to come."""
    return begun()


# --- Forks ----------------------------------------------------------------------------------------


def test_a_second_certified_header_of_a_known_height_freezes_and_is_kept(made: Observed) -> None:
    assert made.advance(1, 2, 3).accepted
    other = header_value(parse_header(another_block(made.fisco, 2)))
    receipt = made.advance(rows=[other])
    assert receipt.accepted
    told = events(receipt, "observed.frozen")
    assert told == [
        {
            "chain": CHAIN,
            "generation": 0,
            "height": 2,
            "known_hash": made.acknowledgement(2)["header_hash"],
            "other_hash": str(other["hash"])[2:],
        }
    ]
    assert made.client()["status"] == "FROZEN"
    assert made.kept(f"fork/{CHAIN}/0000000000")["evidence"] == other
    assert made.advance(4).code == "CLIENT_FROZEN"
    assert made.acknowledgement(4) is None


def test_a_next_header_with_another_parent_freezes_after_what_came_before_it(
    made: Observed,
) -> None:
    parent = [{"blockNumber": 2, "blockHash": "0x" + "05" * 32}]
    row = {**made.fisco.block(3), "parentInfo": parent}
    other = header_value(parse_header(sign_header(row, list(enumerate(made.fisco.names)))))
    receipt = made.advance(rows=[*rows_of(made.fisco, 1, 2), other, *rows_of(made.fisco, 3)])
    assert receipt.accepted
    assert made.client()["status"] == "FROZEN"
    assert made.client()["checkpoint"]["height"] == 2
    assert made.acknowledgement(3) is None
    assert events(receipt, "observed.advanced")


def test_a_header_that_contradicts_the_checkpoint_itself_freezes() -> None:
    observed = Observed()
    observed.fisco.add_block()
    assert observed.begin(observed.fisco.trusted(1)).accepted
    other = header_value(parse_header(another_block(observed.fisco, 1)))
    assert observed.advance(rows=[other]).accepted
    assert observed.client()["status"] == "FROZEN"


def test_a_false_header_of_a_known_height_freezes_nothing(made: Observed) -> None:
    assert made.advance(1, 2, 3).accepted
    row = {**made.fisco.block(2), "stateRoot": "0x" + "07" * 32}
    signed = sign_header(row, list(enumerate(made.fisco.names))[:2])
    receipt = made.advance(rows=[header_value(parse_header(signed))])
    assert receipt.code == "HEADER_UNVERIFIED"
    assert made.client()["status"] == "ACTIVE"


def test_keys_of_sealers_that_left_freeze_nothing_above_their_time(made: Observed) -> None:
    """Who was believed at a height is asked for that height, not who is believed now, nor then."""
    assert made.advance(1, 2, 3, 4, 5).accepted
    before = made.fisco.names
    for gone in range(4):
        names = list(made.fisco.names)
        names[gone] = f"later{gone}"
        made.fisco.names = tuple(names)
        made.fisco.add_block()
    made.fisco.add_block()
    assert made.advance(6, 7, 8, 9, 10).accepted
    row: Row = {**made.fisco.block(10), "stateRoot": "0x" + "07" * 32}
    row["sealerList"] = made.fisco.block(5)["sealerList"]
    old_keys = sign_header(row, list(enumerate(before)))
    refused = made.advance(rows=[header_value(parse_header(old_keys))])
    assert refused.code == "OBSERVED_SET_UNPROVEN"
    early: Row = {**made.fisco.block(3), "stateRoot": "0x" + "07" * 32}
    early["sealerList"] = made.fisco.block(10)["sealerList"]
    new_keys = sign_header(early, list(enumerate(made.fisco.names)))
    refused = made.advance(rows=[header_value(parse_header(new_keys))])
    assert refused.code == "OBSERVED_SET_UNPROVEN"
    early["sealerList"] = made.fisco.block(3)["sealerList"]
    contradicting = sign_header(early, list(enumerate(before)))
    assert made.advance(rows=[header_value(parse_header(contradicting))]).accepted
    assert made.client()["status"] == "FROZEN"


# --- New checkpoints ------------------------------------------------------------------------------


def frozen(made: Observed) -> Observed:
    assert made.advance(1, 2, 3).accepted
    made.advance(rows=[header_value(parse_header(another_block(made.fisco, 2)))])
    assert made.client()["status"] == "FROZEN"
    return made


@pytest.mark.req("G2-05-1")
def test_a_frozen_client_is_replaced_by_both_sides_with_the_province(made: Observed) -> None:
    trusted = frozen(made).fisco.trusted(2)
    assert made.replace(trusted).code == "OBSERVED_CONSENT_MISSING"
    assert made.client()["status"] == "FROZEN"
    assert made.consent(trusted).accepted
    assert made.client()["status"] == "FROZEN"
    receipt = made.replace(trusted)
    assert receipt.accepted
    assert events(receipt, "observed.replaced")[0]["generation"] == 1
    assert (made.client()["status"], made.client()["generation"]) == ("ACTIVE", 1)
    assert made.kept(f"consent/{CHAIN}") is None
    assert made.advance(3).accepted
    assert made.acknowledgement(3, generation=1) is not None
    assert made.acknowledgement(3, generation=0) is not None, "what was acknowledged stays"
    assert made.kept(f"fork/{CHAIN}/0000000000") is not None
    assert made.advance(1).code == "HEADER_UNVERIFIED", "below the new checkpoint"


def test_the_consent_is_to_one_checkpoint_and_serves_once(made: Observed) -> None:
    trusted = frozen(made).fisco.trusted(2)
    assert made.consent(made.fisco.trusted(3)).accepted
    assert made.replace(trusted).code == "OBSERVED_CONSENT_MISSING"
    assert made.consent(trusted).accepted
    assert made.replace(trusted).accepted
    assert made.advance(3).accepted
    made.advance(rows=[header_value(parse_header(another_block(made.fisco, 3)))])
    assert made.client()["status"] == "FROZEN"
    assert made.replace(trusted).code == "OBSERVED_CONSENT_MISSING"


@pytest.mark.parametrize(
    ("who", "code"),
    [(BEIJING_REGULATOR, "CHAIN_PROVINCE_OTHER"), (MARKET_SIDE, "ROLE_MISSING")],
    ids=["another province", "no province"],
)
def test_nobody_consents_but_the_chain_s_province(
    made: Observed, who: IdentityRecord, code: str
) -> None:
    assert made.consent(made.fisco.trusted(5), who).code == code
    assert made.kept(f"consent/{CHAIN}") is None


def test_a_regulator_that_is_part_of_the_operator_does_not_consent() -> None:
    observed, trusted = registered()
    assert observed.begin(trusted).accepted
    later = replace(trusted, number=9, header_hash=b"\x09" * 32)
    assert observed.consent(later, OWN_REGULATOR).code == "CHAIN_PROVINCE_OTHER"
    assert observed.consent(later, REGULATOR).accepted
    assert observed.replace(later).accepted


@pytest.mark.parametrize("who", [(MARKET_SIDE,), (REGULATOR,), ()], ids=["one", "province", "none"])
def test_nobody_replaces_but_both_sides(made: Observed, who: tuple[IdentityRecord, ...]) -> None:
    trusted = made.fisco.trusted(5)
    assert made.consent(trusted).accepted
    refused = made.call("replace", made.body(trusted), *who)
    assert refused.code in ("CHECKER_MISSING", "ROLE_MISSING")
    assert made.client()["generation"] == 0


def test_a_client_that_is_not_frozen_never_goes_back(made: Observed) -> None:
    assert made.advance(1, 2, 3).accepted
    for height in (2, 3):
        refused = made.consent(made.fisco.trusted(height))
        assert refused.code == "OBSERVED_CHECKPOINT_OTHER"
    later = made.fisco.trusted(5)
    assert made.consent(later).accepted
    assert made.advance(4, 5).accepted
    assert made.replace(later).code == "OBSERVED_CHECKPOINT_OTHER"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda it: replace(it, chain_id="chain1"),
        lambda it: replace(it, group_id="group1"),
        lambda it: replace(it, genesis_hash=b"\x01" * 32),
    ],
    ids=["chain", "group", "genesis"],
)
def test_a_checkpoint_of_another_chain_replaces_nothing(
    made: Observed, spoil: Callable[[TrustedFisco], TrustedFisco]
) -> None:
    other = spoil(made.fisco.trusted(5))
    assert made.consent(other).code == "OBSERVED_CHECKPOINT_OTHER"
    assert made.replace(other).code == "OBSERVED_CHECKPOINT_OTHER"


def test_what_nobody_began_is_not_replaced() -> None:
    observed = Observed()
    assert observed.replace(observed.fisco.trusted()).code == "CLIENT_UNKNOWN"
    assert observed.consent(observed.fisco.trusted()).code == "CLIENT_UNKNOWN"


@pytest.mark.req("G2-10-1")
def test_a_registered_chain_goes_on_from_no_other_sealers_than_registered() -> None:
    observed, trusted = registered()
    assert observed.begin(trusted).accepted
    other = replace(trusted, number=5, sealers=FiscoChain().sealers)
    assert observed.consent(other).accepted
    assert observed.replace(other).code == "OBSERVED_CHECKPOINT_OTHER"
