"""Transactions and receipts are believed with their proofs under a believed header, together."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.execution import (
    FiscoExecution,
    verify_execution,
    verify_transaction_list,
)
from guqiao_sdk.proof.fisco.header import parse_header
from guqiao_sdk.proof.fisco.merkle import (
    ITEMS_MAX,
    LEVELS_MAX,
    check_path_at,
    list_root,
    parse_path,
    path_index,
)
from guqiao_sdk.proof.fisco.receipt import parse_receipt
from guqiao_sdk.proof.fisco.transaction import parse_transaction
from tests.plugins.fisco_chain import (
    FiscoChain,
    Row,
    hexed,
    proof_of,
    provider,
    receipt_hash,
    root_of,
    sign_transaction,
    transaction_hash,
    unhexed,
)

pytestmark = pytest.mark.req("T2-13", "G2-06-4")


@pytest.fixture
def chain() -> FiscoChain:
    made = FiscoChain()
    made.add_block(5)
    return made


def parts(chain: FiscoChain, index: int = 0) -> tuple[Row, Row]:
    """Transaction and receipt at a place of block 1."""
    name = chain.block(1)["transactions"][index]
    return copy.deepcopy(chain.transactions[name]), copy.deepcopy(chain.receipts[name])


def judged(chain: FiscoChain, transaction: Row, receipt: Row) -> FiscoExecution:
    header = parse_header(chain.block(1)).header
    return verify_execution(chain.trusted(), header, transaction, receipt, provider().verify)


def refused(chain: FiscoChain, transaction: Row, receipt: Row) -> str:
    with pytest.raises(ProofError) as caught:
        judged(chain, transaction, receipt)
    return caught.value.code


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_transaction_of_a_block_is_proven_at_its_place(count: int) -> None:
    chain = FiscoChain()
    chain.add_block(count)
    for index in range(count):
        proven = judged(chain, *parts(chain, index))
        assert (proven.index, proven.receipt.status) == (index, 0)


@pytest.mark.parametrize(
    "name",
    [
        *("version", "chainID", "groupID", "blockLimit", "nonce", "to", "input", "abi"),
        *("hash", "signature", "from", "txProof"),
    ],
)
def test_a_transaction_with_any_field_changed_is_refused(chain: FiscoChain, name: str) -> None:
    transaction, receipt = parts(chain)
    judged(chain, transaction, receipt)
    value = transaction[name]
    changed: Any = value + 1 if isinstance(value, int) else _turned(value)
    assert refused(chain, {**transaction, name: changed}, receipt)
    without = {each: kept for each, kept in transaction.items() if each != name}
    assert refused(chain, without, receipt) == "OBSERVED_ANSWER_MALFORMED"


@pytest.mark.parametrize(
    "name",
    [
        *("version", "gasUsed", "contractAddress", "status", "output", "logEntries"),
        *("blockNumber", "hash", "txReceiptProof"),
    ],
)
def test_a_receipt_with_any_field_changed_is_refused(chain: FiscoChain, name: str) -> None:
    transaction, receipt = parts(chain)
    value = receipt[name]
    changed: Any = value + 1 if isinstance(value, int) else _turned(value)
    assert refused(chain, transaction, {**receipt, name: changed})
    without = {each: kept for each, kept in receipt.items() if each != name}
    assert refused(chain, transaction, without) == "OBSERVED_ANSWER_MALFORMED"


def _turned(value: Any) -> Any:
    if isinstance(value, list):
        return value[1:]
    if value == "":
        return "0x" + "1" * 40
    return value[:-1] + ("0" if value[-1] != "0" else "1")


def test_a_receipt_of_another_transaction_of_the_block_is_refused(chain: FiscoChain) -> None:
    """That chain's receipts do not name their transactions: only the place tells."""
    transaction, _ = parts(chain, 1)
    for index in (0, 2, 3, 4):
        assert refused(chain, transaction, parts(chain, index)[1]) == "PROOF_INVALID"


def test_equal_receipts_side_by_side_belong_to_both() -> None:
    """A level of two equal hashes does not say which of them is meant; either is right."""
    hashes = [sm3(b"same"), sm3(b"same"), sm3(b"other")]
    path = parse_path("receipt", proof_of(hashes, 1))
    for place in (0, 1):
        check_path_at("receipt", root_of(hashes), hashes[0], path, place)
    for beyond in (2, 4):
        with pytest.raises(ProofError, match=f"place {beyond}"):
            check_path_at("receipt", root_of(hashes), hashes[0], path, beyond)


def test_what_belongs_to_another_block_or_chain_is_refused(chain: FiscoChain) -> None:
    chain.add_block(5)
    transaction, receipt = parts(chain)
    later = chain.transactions[chain.block(2)["transactions"][0]]
    assert refused(chain, later, receipt) == "PROOF_INVALID"
    assert refused(chain, transaction, chain.receipts[later["hash"]]) == "PROOF_INVALID"
    for name in ("chainID", "groupID"):
        elsewhere = sign_transaction({**transaction, name: "other"}, "company")
        assert refused(chain, elsewhere, receipt) == "CHAIN_MISMATCH"


def test_a_transaction_signed_by_another_than_its_sender_is_refused(chain: FiscoChain) -> None:
    transaction, receipt = parts(chain)
    stolen = sign_transaction(transaction, "thief")
    assert refused(chain, {**stolen, "from": transaction["from"]}, receipt) == "PROOF_INVALID"
    judged(chain, stolen, receipt)  # Whoever signed is whom the verifier names.


def test_a_signature_of_the_sender_over_something_else_is_refused(chain: FiscoChain) -> None:
    transaction, receipt = parts(chain)
    other = parts(chain, 1)[0]["signature"]
    assert refused(chain, {**transaction, "signature": other}, receipt) == "PROOF_INVALID"


def test_a_block_that_contradicts_itself_is_refused() -> None:
    """Receipts of another height, or fewer of them than transactions, under a certified header."""
    honest = FiscoChain()
    honest.add_block(5)
    rows = [parts(honest, index)[1] for index in range(5)]
    moved = [{**row, "blockNumber": 9} for row in rows]
    for index, shown in ((0, moved), (0, rows[:3])):
        hashes = [receipt_hash(row) for row in shown]
        chain = FiscoChain()
        chain.add_block(5, receiptsRoot=hexed(root_of(hashes)))
        receipt = {
            **shown[index],
            "hash": hexed(hashes[index]),
            "txReceiptProof": proof_of(hashes, index),
        }
        assert refused(chain, parts(chain, index)[0], receipt) == "PROOF_INVALID"


@pytest.mark.parametrize("version", [1, 2])
def test_transactions_and_receipts_of_later_versions_are_refused_by_name(
    chain: FiscoChain, version: int
) -> None:
    transaction, receipt = parts(chain)
    later = sign_transaction({**transaction, "version": version}, "company")
    assert refused(chain, later, receipt) == "OBSERVED_VERSION_UNKNOWN"
    newer = {**receipt, "version": version}
    newer["hash"] = hexed(receipt_hash(newer))
    assert refused(chain, transaction, newer) == "OBSERVED_VERSION_UNKNOWN"


def test_a_nonce_written_in_hex_is_read_by_the_hash(chain: FiscoChain) -> None:
    """Newer nodes write it so."""
    transaction, receipt = parts(chain)
    written = {**transaction, "nonce": transaction["nonce"].encode().hex()}
    assert judged(chain, written, receipt).transaction.nonce == transaction["nonce"]


# --- What the hash leaves open ------------------------------------------------------------------


def test_a_call_cannot_be_shown_as_a_deployment_under_the_same_hash(chain: FiscoChain) -> None:
    """Digits of the recipient moved to the nonce, the rest to the input."""
    transaction, receipt = parts(chain)
    called = transaction["to"].encode() + unhexed(transaction["input"])
    for moved in (0, 1):
        shown = {
            **transaction,
            "nonce": transaction["nonce"] + called[:moved].decode(),
            "to": "",
            "input": hexed(called[moved:]),
        }
        assert transaction_hash(shown) == unhexed(transaction["hash"])
        assert refused(chain, shown, receipt) == "PROOF_INVALID"


def test_what_a_deployment_sends_is_one_piece() -> None:
    row = {
        "version": 0,
        "chainID": "chain0",
        "groupID": "group0",
        "blockLimit": 500,
        "nonce": "77",
        "to": "",
        "input": "0x6080",
        "abi": "[]",
    }
    deployed = sign_transaction(row, "company")
    moved = {**deployed, "input": "0x6080" + b"[".hex(), "abi": "]"}
    verify = provider().verify
    one, other = parse_transaction(deployed, verify), parse_transaction(moved, verify)
    assert one == other
    assert one.data == b"\x60\x80[]"


def test_events_cannot_be_hidden_in_the_output(chain: FiscoChain) -> None:
    """The same bytes under the same hash: what is proven is one piece, whatever a node says."""
    _, receipt = parts(chain)
    (event,) = receipt["logEntries"]
    hidden = hexed(
        unhexed(receipt["output"])
        + event["address"].encode()
        + unhexed(event["topics"][0])
        + unhexed(event["data"])
    )
    shown = {**receipt, "output": hidden, "logEntries": []}
    assert receipt_hash(shown) == unhexed(receipt["hash"])
    assert parse_receipt(shown) == parse_receipt(receipt)


def test_digits_of_gas_cannot_become_part_of_the_contract(chain: FiscoChain) -> None:
    _, receipt = parts(chain)
    made = {**receipt, "contractAddress": "0x" + "12" * 20}
    made["hash"] = hexed(receipt_hash(made))
    assert parse_receipt(made).contract == "12" * 20
    moved = {**made, "gasUsed": made["gasUsed"] + "1", "contractAddress": "0x" + ("12" * 20)[1:]}
    assert receipt_hash(moved) == receipt_hash(made)
    with pytest.raises(ProofError):
        parse_receipt(moved)


# --- Trees --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), wide=st.booleans(), data=st.data())
def test_paths_lead_to_the_root_and_to_the_place(
    count: int, wide: bool, data: st.DataObject
) -> None:
    hashes = [sm3(bytes([each])) for each in range(count)]
    index = data.draw(st.integers(0, count - 1))
    rows = proof_of(hashes, index, count_bytes=32 if wide else 4)
    path = parse_path("path", rows)
    assert list_root(hashes) == root_of(hashes)
    assert path_index("path", root_of(hashes), hashes[index], path) == index
    check_path_at("path", root_of(hashes), hashes[index], path, index)
    spoiled = data.draw(st.integers(0, len(rows) - 1))
    turned = [*rows[:spoiled], _turned(rows[spoiled]), *rows[spoiled + 1 :]]
    with pytest.raises(ProofError):
        path_index("path", root_of(hashes), hashes[index], parse_path("path", turned))
    with pytest.raises(ProofError):
        path_index("path", root_of(hashes), hashes[index], parse_path("path", rows[:spoiled]))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["00"],
        ["00000002"],
        ["00000002", "11" * 32],
        ["00000000"],
        ["00000003", "11" * 32, "22" * 32, "33" * 32],
        ["00000002", "11" * 32, "22" * 31],
        ["ffffffff", "11" * 32],
        ["0000000200", "11" * 32, "22" * 32],
        ["00000001" + "01" * 28, "11" * 32],
        [None],
        [{"left": [], "right": []}],
        ["0x" + "11" * 32],
        ["00000001", "11" * 32] * (LEVELS_MAX * 3),
    ],
)
def test_malformed_proofs_are_refused(rows: list[Any]) -> None:
    with pytest.raises(ProofError):
        path_index("path", b"\x11" * 32, b"\x11" * 32, parse_path("path", rows))


def test_a_tree_of_another_width_is_refused_though_its_path_leads_to_the_root() -> None:
    hashes = [sm3(bytes([each])) for each in range(3)]
    rows = ["00000003", *(each.hex() for each in hashes)]
    with pytest.raises(ProofError, match="a level of 3 hashes"):
        parse_path("path", rows)


def test_a_path_has_a_bound_though_it_leads_to_the_root() -> None:
    node, rows = b"\x01" * 32, []
    for _ in range(ITEMS_MAX // 2 + 1):
        rows += ["00000001", node.hex()]
        node = sm3(node)
    with pytest.raises(ProofError, match="too many levels"):
        parse_path("path", rows)
    path_index("path", sm3(b"\x01" * 32), b"\x01" * 32, parse_path("path", rows[:2]))


def test_a_node_of_the_tree_is_no_leaf(chain: FiscoChain) -> None:
    """A shorter proof of an inner hash holds; it proves nothing, for its bytes are no body."""
    hashes = [unhexed(each) for each in chain.block(1)["transactions"]]
    inner = sm3(hashes[0] + hashes[1])
    shorter = parse_path("path", proof_of(hashes, 0)[3:])
    root = unhexed(chain.block(1)["txsRoot"])
    assert path_index("path", root, inner, shorter) == 0
    transaction, receipt = parts(chain)
    shown = {**transaction, "hash": hexed(inner), "txProof": proof_of(hashes, 0)[3:]}
    assert refused(chain, shown, receipt) == "PROOF_INVALID"


def test_the_list_of_a_block_is_whole(chain: FiscoChain) -> None:
    header = parse_header(chain.block(1)).header
    listed = chain.block(1)["transactions"]
    assert verify_transaction_list(header, chain.block(1)) == tuple(map(unhexed, listed))
    twice = [*listed, listed[-1]]
    wrongs: list[Any] = [listed[:-1], listed[::-1], twice, [], ["0x00"], listed[0]]
    for wrong in wrongs:
        with pytest.raises(ProofError):
            verify_transaction_list(header, {"transactions": wrong})


def test_an_empty_block_has_no_transactions() -> None:
    chain = FiscoChain()
    header = parse_header(chain.add_block(0)).header
    assert verify_transaction_list(header, chain.block(1)) == ()
