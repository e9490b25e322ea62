"""`observed` on the regulatory chain: checkpoints of people, then headers judged one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.fisco.checkpoint import checkpoint_value
from guqiao_sdk.proof.fisco.header import header_value, parse_header
from guqiao_sdk.proof.fisco.sealers import SealerSet
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.observed_state import HEADERS_MAX, SIGNATURES_MAX
from services.consensus.domain.contracts.identity_record import IdentityRecord
from services.consensus.domain.contracts.light_client import CLOCK_AHEAD_MS_MAX
from tests.plugins.fisco_chain import FiscoChain, recorded, sign_header
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.observed_chain import (
    CHAIN,
    Observed,
    begun,
    registered,
    rows_of,
)
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    GENESIS_HASH,
    MAKER,
    MARKET_SIDE,
    TECH_SIDE,
    detail,
)

pytestmark = pytest.mark.req("T2-13", "T2-14")


@pytest.fixture
def made() -> Observed:
    """Begun at the genesis block, with five blocks to come."""
    return begun()


# --- Beginning ------------------------------------------------------------------------------------


def test_both_sides_of_the_csrc_begin_and_the_same_again_changes_nothing(made: Observed) -> None:
    before = made.client()
    assert (before["status"], before["generation"]) == ("ACTIVE", 0)
    assert before["checkpoint"] == checkpoint_value(made.fisco.trusted())
    again = made.begin()
    assert again.accepted
    assert not events(again, "observed.begun")
    assert made.client() == before
    other = made.begin(made.fisco.trusted(2))
    assert other.code == "REFERENCE_CONFLICT"
    assert made.client() == before


@pytest.mark.req("G2-05-1")
@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((MARKET_SIDE,), "CHECKER_MISSING"),
        ((TECH_SIDE, MARKET_SIDE), "ROLE_MISSING"),
        ((MARKET_SIDE, MAKER), "ROLE_MISSING"),
        ((), "ROLE_MISSING"),
    ],
    ids=["one side", "in each other's place", "another organisation", "relayer"],
)
def test_nobody_else_begins(who: tuple[IdentityRecord, ...], code: str) -> None:
    observed = Observed()
    receipt = observed.call("begin", observed.body(observed.fisco.trusted()), *who)
    assert receipt.code == code
    assert observed.client() is None


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda it: replace(it, sealers=SealerSet(it.sealers.sealers[:3])), "REPLICAS_TOO_FEW"),
        (lambda it: replace(it, number=1 << 53), "BODY_MALFORMED"),
        (lambda it: replace(it, chain_id=""), "TRUST_INVALID"),
        (lambda it: replace(it, header_hash=b""), "TRUST_INVALID"),
        (
            lambda it: replace(
                it,
                sealers=SealerSet(
                    (replace(it.sealers.sealers[0], weight=9), *it.sealers.sealers[1:])
                ),
            ),
            "CONSENSUS_NOT_BFT",
        ),
    ],
    ids=["three sealers", "height", "no name", "no hash", "one has a quorum"],
)
def test_a_checkpoint_that_cannot_be_believed_begins_nothing(
    spoil: Callable[[TrustedFisco], TrustedFisco], code: str
) -> None:
    observed = Observed()
    assert observed.begin(spoil(observed.fisco.trusted())).code == code
    assert observed.client() is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain": "csrc"}, "CHAIN_REGION_UNKNOWN"),
        ({"chain": ""}, "CHAIN_FIELD_MISSING"),
        ({"chain": 7}, "CHAIN_FIELD_INVALID"),
        ({"checkpoint": []}, "BODY_MALFORMED"),
        ({"further": 1}, "BODY_MALFORMED"),
    ],
)
def test_a_body_of_another_form_begins_nothing(changes: dict[str, Any], code: str) -> None:
    assert Observed().begin(**changes).code == code


@pytest.mark.req("G2-10-1")
def test_a_registered_chain_begins_with_what_is_registered() -> None:
    observed, trusted = registered()
    assert observed.begin(trusted).accepted
    assert observed.client()["checkpoint"]["genesis_hash"] == GENESIS_HASH


@pytest.mark.req("G2-10-1")
@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda it: replace(it, genesis_hash=b"\x01" * 32), "genesis_hash"),
        (lambda it: replace(it, number=1), "trusted_header"),
        (lambda it: replace(it, header_hash=b"\x01" * 32), "trusted_header"),
        (lambda it: replace(it, sealers=FiscoChain().sealers), "validators"),
    ],
    ids=["genesis", "height", "hash", "sealers"],
)
def test_a_registered_chain_begins_with_nothing_else(
    spoil: Callable[[TrustedFisco], TrustedFisco], fault: str
) -> None:
    observed, trusted = registered()
    refused = observed.begin(spoil(trusted))
    assert refused.code == "OBSERVED_CHECKPOINT_OTHER"
    assert fault in str(detail(refused)["fault"])


@pytest.mark.req("G2-10-1")
@pytest.mark.parametrize(
    ("name", "version"), [("guqiao", "3.3.0"), ("FISCO BCOS", "2.9.1")], ids=["ours", "version 2"]
)
def test_a_chain_of_another_platform_is_not_observed_as_this_one(name: str, version: str) -> None:
    platform = {"name": name, "version": version, "vm": "evm", "crypto_suite": "SM2-SM3-SM4"}
    observed, trusted = registered(platform=platform)
    refused = observed.begin(trusted)
    assert refused.code == "OBSERVED_CHECKPOINT_OTHER"
    assert "platform" in str(detail(refused)["fault"])


def test_a_chain_that_is_not_admitted_is_not_observed() -> None:
    observed, trusted = registered()
    suspended = {"chain_id": CHAIN, "scope": "ALL", "reason": "核查"}
    observed.registry.must("suspend", BOTH_SIDES, **suspended)
    assert observed.begin(trusted).code == "CHAIN_NOT_ADMITTED"


def test_a_chain_that_is_suspended_altogether_does_not_advance() -> None:
    observed, trusted = registered()
    assert observed.begin(trusted).accepted
    suspended = {"chain_id": CHAIN, "scope": "ALL", "reason": "核查"}
    observed.registry.must("suspend", BOTH_SIDES, **suspended)
    observed.fisco.add_block()
    assert observed.advance(1).code == "CHAIN_NOT_ADMITTED"


# --- Advancing ------------------------------------------------------------------------------------


def test_each_header_is_acknowledged_with_the_height_of_this_chain(made: Observed) -> None:
    receipt = made.advance(1, 2, 3)
    assert receipt.accepted
    csrc = made.registry.csrc.header.height
    for height in (1, 2, 3):
        header = parse_header(made.fisco.block(height)).header
        assert made.acknowledgement(height) == {
            "header_hash": header.hash().hex(),
            "transactions_root": header.transactions_root.hex(),
            "receipts_root": header.receipts_root.hex(),
            "block_time_ms": header.time_ms,
            "sealers_height": 0,
            "recorded_height": csrc,
        }
    assert made.client()["checkpoint"] == checkpoint_value(made.fisco.trusted(3))
    assert made.client()["recorded_height"] == csrc
    told = events(receipt, "observed.advanced")
    assert [(each["height"], each["header_hash"]) for each in told] == [
        (3, made.fisco.trusted(3).header_hash.hex())
    ]


def test_headers_that_are_known_change_nothing_and_new_ones_behind_them_count(
    made: Observed,
) -> None:
    assert made.advance(1, 2).accepted
    before = made.client(), made.acknowledgement(1), made.acknowledgement(2)
    again = made.advance(2, 1)
    assert again.accepted
    assert not again.events
    assert (made.client(), made.acknowledgement(1), made.acknowledgement(2)) == before
    assert made.advance(1, 2, 3).accepted
    assert made.acknowledgement(1)["recorded_height"] < made.acknowledgement(3)["recorded_height"]
    assert made.client()["checkpoint"]["height"] == 3


def test_a_real_chain_s_header_is_taken() -> None:
    """Block 2 of a recorded chain with four sealers, from the checkpoint before it."""
    certified = parse_header(recorded("sm_block_2"))
    header = certified.header
    trusted = TrustedFisco("chain0", "group0", b"\x11" * 32, 1, header.parent_hash, header.sealers)
    observed = Observed()
    assert observed.begin(trusted).accepted
    assert observed.advance(rows=[header_value(certified)]).accepted
    assert observed.acknowledgement(2)["header_hash"] == recorded("sm_block_2")["hash"][2:]


def test_only_a_relayer_advances(made: Observed) -> None:
    body: Any = {"chain": CHAIN, "headers": rows_of(made.fisco, 1)}
    assert made.call("advance", body, MARKET_SIDE, TECH_SIDE).code == "ROLE_MISSING"


def test_a_chain_that_nobody_began_does_not_advance(made: Observed) -> None:
    assert made.advance(1, chain="beijing").code == "CLIENT_UNKNOWN"


def test_a_height_is_never_passed_over(made: Observed) -> None:
    assert made.advance(2).code == "HEADER_UNVERIFIED"
    assert made.advance(1, 3).code == "HEADER_UNVERIFIED"
    assert made.client()["checkpoint"]["height"] == 0
    assert made.acknowledgement(1) is None


def spoiled_header(chain: FiscoChain, **changes: Any) -> list[Json]:
    row: Any = rows_of(chain, 1)[0]
    return [{**row, **changes}]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda it: spoiled_header(it, hash="0x" + "01" * 32), "HEADER_UNVERIFIED"),
        (lambda it: spoiled_header(it, stateRoot="0x" + "01" * 32), "HEADER_UNVERIFIED"),
        (lambda it: spoiled_header(it, signatureList=[]), "HEADER_UNVERIFIED"),
        (
            lambda it: spoiled_header(it, signatureList=it.block(1)["signatureList"][:2]),
            "HEADER_UNVERIFIED",
        ),
        (
            lambda it: spoiled_header(it, signatureList=it.block(2)["signatureList"]),
            "HEADER_UNVERIFIED",
        ),
        (lambda it: spoiled_header(it, version=0x04000000), "OBSERVED_VERSION_UNKNOWN"),
        (lambda it: spoiled_header(it, further=1), "BODY_MALFORMED"),
        (lambda it: spoiled_header(it, transactions=[]), "BODY_MALFORMED"),
        (lambda it: spoiled_header(it, gasUsed=7), "BODY_MALFORMED"),
        (lambda it: [[]], "BODY_MALFORMED"),
        (lambda it: [], "BODY_MALFORMED"),
        (lambda it: {}, "BODY_MALFORMED"),
        (lambda it: rows_of(it, 1) * (HEADERS_MAX + 1), "BODY_MALFORMED"),
    ],
)
def test_a_header_that_does_not_hold_is_refused_and_nothing_moves(
    made: Observed, spoil: Callable[[FiscoChain], Any], code: str
) -> None:
    receipt = made.advance(rows=spoil(made.fisco))
    assert receipt.code == code
    assert made.client()["checkpoint"]["height"] == 0


def test_what_one_call_checks_is_bounded(made: Observed) -> None:
    chain = FiscoChain(names=tuple(f"m{number}" for number in range(9)), weights=(1,) * 9)
    rows = []
    for _ in range(SIGNATURES_MAX // 9 + 1):
        chain.add_block()
        rows += rows_of(chain, len(chain.blocks))
    receipt = made.advance(rows=rows)
    assert receipt.code == "LIMIT_EXCEEDED"
    assert detail(receipt)["maximum"] == SIGNATURES_MAX


def test_a_height_that_state_cannot_carry_is_refused(made: Observed) -> None:
    parent = [{"blockNumber": (1 << 53) - 1, "blockHash": "0x" + "01" * 32}]
    row = {**made.fisco.block(1), "number": 1 << 53, "parentInfo": parent}
    signed = sign_header(row, list(enumerate(made.fisco.names)))
    receipt = made.advance(rows=[header_value(parse_header(signed))])
    assert receipt.code == "BODY_MALFORMED"


def test_a_block_of_the_future_is_refused_until_its_time(made: Observed) -> None:
    csrc = made.registry.csrc
    late = csrc.header.block_time_ms + 1_000 + CLOCK_AHEAD_MS_MAX
    fisco = FiscoChain()
    fisco.add_block(timestamp=late + 1)
    assert made.advance(rows=rows_of(fisco, 1)).code == "HEADER_UNVERIFIED"
    assert made.advance(rows=rows_of(fisco, 1)).accepted  # The next block is a second later.


# --- Sealers --------------------------------------------------------------------------------------


def test_sealers_that_those_before_signed_over_to_are_followed(made: Observed) -> None:
    assert made.advance(1, 2, 3, 4, 5).accepted
    made.fisco.names = ("n0", "n1", "n2", "n9")
    made.fisco.add_block()
    made.fisco.add_block()
    receipt = made.advance(6, 7)
    assert receipt.accepted
    told = events(receipt, "observed.sealers_changed")
    assert told == [{"chain": CHAIN, "height": 6, "registered": True}]
    assert made.client()["sealers_height"] == 6
    kept = [made.acknowledgement(height)["sealers_height"] for height in (6, 7)]
    assert kept == [0, 6]


def test_sealers_that_nobody_believed_signed_over_to_are_refused(made: Observed) -> None:
    assert made.advance(1, 2, 3, 4, 5).accepted
    made.fisco.names = ("n0", "n1", "x2", "x3")
    made.fisco.add_block()
    assert made.advance(6).code == "OBSERVED_SET_UNPROVEN"
    assert made.client()["checkpoint"]["height"] == 5
