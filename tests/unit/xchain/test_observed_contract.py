"""`observed` on the regulatory chain: checkpoints of people, then headers judged one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from guqiao_sdk.proof.fisco.checkpoint import checkpoint_value
from guqiao_sdk.proof.fisco.header import header_value, parse_header
from guqiao_sdk.proof.fisco.sealers import Sealer, SealerSet
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.observed_state import HEADERS_MAX, SIGNATURES_MAX
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts.identity_record import IdentityRecord
from services.consensus.domain.contracts.light_client import CLOCK_AHEAD_MS_MAX
from services.consensus.domain.contracts.observed import ObservedContract
from tests.plugins.fisco_chain import FiscoChain, Row, recorded, sign_header
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BEIJING_REGULATOR,
    BOTH_SIDES,
    GENESIS_HASH,
    MAKER,
    MARKET_SIDE,
    OWN_REGULATOR,
    REGULATOR,
    TECH_SIDE,
    Registry,
    detail,
    nodes,
    registration,
)

pytestmark = pytest.mark.req("T2-13", "T2-14")

CHAIN = "shandong"


def rows_of(chain: FiscoChain, *heights: int) -> list[Json]:
    """Headers as a relayer brings them."""
    return [header_value(parse_header(chain.block(height))) for height in heights]


def another_block(chain: FiscoChain, height: int, *, state: str = "0x" + "07" * 32) -> Row:
    """A second block of a height, certified by the same sealers."""
    row = {**chain.block(height), "stateRoot": state}
    return sign_header(row, list(enumerate(chain.names)))


@dataclass
class Observed:
    """The regulatory chain, and the market's chain of another kind."""

    registry: Registry = field(default_factory=lambda: Registry.make(ObservedContract()))
    fisco: FiscoChain = field(default_factory=FiscoChain)

    def call(self, method: str, body: Any, *who: IdentityRecord) -> Receipt:
        csrc = self.registry.csrc
        return csrc.execute(csrc.transaction("observed", method, body, signers=who)).receipts[0]

    def begin(self, trusted: TrustedFisco | None = None, **changes: Any) -> Receipt:
        body = {"chain": CHAIN, "checkpoint": checkpoint_value(trusted or self.fisco.trusted())}
        return self.call("begin", body | changes, *BOTH_SIDES)

    def advance(self, *heights: int, rows: Any = None, **changes: Any) -> Receipt:
        headers = rows_of(self.fisco, *heights) if rows is None else rows
        return self.call("advance", {"chain": CHAIN, "headers": headers} | changes)

    def consent(self, trusted: TrustedFisco, who: IdentityRecord = REGULATOR) -> Receipt:
        return self.call("consent", self.body(trusted), who)

    def replace(self, trusted: TrustedFisco) -> Receipt:
        return self.call("replace", self.body(trusted), *BOTH_SIDES)

    def body(self, trusted: TrustedFisco) -> dict[str, Json]:
        return {"chain": CHAIN, "checkpoint": checkpoint_value(trusted)}

    def client(self) -> Any:
        return self.kept(f"client/{CHAIN}")

    def kept(self, key: str) -> Any:
        return self.registry.csrc.value(f"observed/{key}")

    def acknowledgement(self, height: int, generation: int = 0) -> Any:
        return self.kept(f"acknowledgement/{CHAIN}/{generation:010d}/{height:020d}")


@pytest.fixture
def made() -> Observed:
    """Begun at the genesis block, with five blocks to come."""
    observed = Observed()
    for _ in range(5):
        observed.fisco.add_block(2)
    assert observed.begin().accepted
    return observed


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


def registered(**changes: Any) -> tuple[Observed, TrustedFisco]:
    """A chain of the other kind in the register, and the checkpoint that agrees with it."""
    platform = {
        "name": "FISCO BCOS", "version": "3.3.0", "vm": "evm", "crypto_suite": "SM2-SM3-SM4",
    }  # fmt: skip
    observed = Observed()
    observed.registry.bring("ACTIVE", registration(**{"platform": platform} | changes))
    members = nodes().set.members
    sealers = SealerSet(tuple(Sealer(each.public_key[1:], 1) for each in members))
    genesis = bytes.fromhex(GENESIS_HASH)
    return observed, TrustedFisco("chain0", "group0", genesis, 0, genesis, sealers)


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
