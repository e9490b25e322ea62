"""What real nodes answered is judged as their own chain judged it.

The sources are named in `recorded/README.md`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.genesis import verify_genesis
from guqiao_sdk.proof.fisco.header import parse_header
from guqiao_sdk.proof.fisco.merkle import check_path_at, parse_path, path_index
from guqiao_sdk.proof.fisco.receipt import parse_receipt
from guqiao_sdk.proof.fisco.transaction import parse_transaction
from guqiao_sdk.proof.fisco.trusted import TrustedFisco, advance
from tests.plugins.fisco_chain import (
    provider,
    receipt_hash,
    recorded,
    transaction_hash,
    unhexed,
)
from tests.unit.fisco.keccak import keccak_256

pytestmark = pytest.mark.req("T2-13")


def at_genesis() -> TrustedFisco:
    """The recorded chain as known from its genesis, with the sealers that it names."""
    genesis = unhexed(recorded("sm_genesis")["hash"])
    sealers = parse_header(recorded("sm_block_2")).header.sealers
    return TrustedFisco("chain0", "group0", genesis, 0, genesis, sealers)


def test_the_recorded_sm_block_is_certified_by_a_quorum_of_its_sealers() -> None:
    certified = parse_header(recorded("sm_block_2"))
    believed = advance(at_genesis(), certified, provider().verify)
    assert certified.header.hash().hex() == recorded("sm_block_2")["hash"][2:]
    assert (believed.number, len(certified.signatures), believed.sealers.quorum) == (2, 3, 3)


def test_the_recorded_genesis_says_which_chain_it_is() -> None:
    verify_genesis(at_genesis(), recorded("sm_genesis"))
    trusted = at_genesis()
    for other in (replace(trusted, chain_id="other"), replace(trusted, group_id="other")):
        with pytest.raises(ProofError) as caught:
            verify_genesis(other, recorded("sm_genesis"))
        assert caught.value.code == "CHAIN_MISMATCH"


def test_the_sealers_of_the_recorded_block_are_those_that_its_genesis_names() -> None:
    text = unhexed(recorded("sm_genesis")["extraData"]).decode()
    named = [line.split(":")[1].split(",")[0] for line in text.splitlines() if "node." in line]
    assert [each.node_id.hex() for each in at_genesis().sealers.sealers] == named


def test_the_recorded_receipt_stands_under_the_recorded_block() -> None:
    receipt, header = recorded("sm_receipt"), parse_header(recorded("sm_block_2")).header
    parsed = parse_receipt(receipt)
    path = parse_path("receipt", receipt["txReceiptProof"])
    check_path_at("receipt", header.receipts_root, parsed.hash(), path, 0)
    assert (parsed.status, parsed.number, parsed.gas_used) == (0, 2, "24363")
    assert parsed.contract == receipt["contractAddress"][2:]
    # Its transaction is the only one of the block.
    assert header.transactions_root == unhexed(receipt["transactionHash"])


def test_the_recorded_sm_transaction_is_signed_by_its_sender() -> None:
    row = recorded("sm_transaction")
    transaction = parse_transaction(row, provider().verify)
    assert transaction.hash() == unhexed(row["hash"])
    assert transaction.sender == unhexed(recorded("sm_receipt")["from"])
    assert transaction.data == unhexed(row["input"]) + row["abi"].encode()


def test_the_recorded_proof_of_nine_levels_leads_to_its_root() -> None:
    row = recorded("ecdsa_transaction")
    root = bytes.fromhex("ab67ef374352b65bd6f411b153c821a0c2607bf275ffe407e18bc1e6957f1bf2")
    path = parse_path("transaction", row["txProof"])
    assert path.widths == (2, 2, 2, 1, 2, 2, 2, 2, 2)
    assert path_index("transaction", root, unhexed(row["hash"]), path, keccak_256) == 0b111110110
    with pytest.raises(ProofError, match="does not hold the leaf"):
        path_index("transaction", root, root, path, keccak_256)


def test_hashes_of_the_recorded_ecdsa_chain_are_made_of_the_same_fields() -> None:
    """The fields and their order, with that chain's hash in place of SM3."""
    for name, hash_of in (("transaction", transaction_hash), ("receipt", receipt_hash)):
        row = recorded(f"ecdsa_{name}")
        assert hash_of(row, keccak_256) == unhexed(row["hash"])


def test_a_chain_without_national_cryptography_is_refused() -> None:
    with pytest.raises(ProofError) as header:
        parse_header(recorded("ecdsa_block_1"))
    with pytest.raises(ProofError) as transaction:
        parse_transaction(recorded("ecdsa_transaction"), provider().verify)
    with pytest.raises(ProofError) as receipt:
        parse_receipt(recorded("ecdsa_receipt"))
    assert (header.value.code, transaction.value.code) == ("ALG_NOT_GM", "ALG_NOT_GM")
    assert receipt.value.code == "PROOF_INVALID"
    genesis = recorded("sm_genesis")
    plain = unhexed(genesis["extraData"]).replace(b"sm_crypto:1", b"sm_crypto:0")
    with pytest.raises(ProofError) as caught:
        verify_genesis(at_genesis(), {**genesis, "extraData": "0x" + plain.hex()})
    assert caught.value.code == "ALG_NOT_GM"
