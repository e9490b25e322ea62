"""Execution: receipts, request identity, predecessors, limits, packets, roll-back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.packet import Packet, commitment_key
from guqiao_sdk.proof.receipt import EVENTS_MAX, Outcome, Receipt
from guqiao_sdk.proof.transaction import SignedTransaction, transaction_sign_bytes
from services.consensus.domain.contracts.host import OUTPUT_BYTES_MAX, WRITES_MAX
from services.consensus.domain.ledger.admission import Refused, read_transaction
from services.consensus.domain.ledger.authorisation import check_stateful
from services.consensus.domain.ledger.execution import BLOCK_OUTPUT_BYTES_MAX
from services.consensus.domain.ledger.host import PACKETS_MAX, VALUE_BYTES_MAX
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CLERK,
    FLOOD_VALUE_BYTES,
    GENESIS_TIME_MS,
    MARKET,
    MemoryChain,
    genesis_json,
    genesis_of,
    id_of,
    identity_json,
    key_json,
    payload_of,
    public_key,
    sign,
    signed,
)

REQUEST = "11111111-2222-3333-4444-555555555555"


def facts(receipt: Receipt) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(receipt.detail)
    return value


def short(receipt: Receipt) -> tuple[Outcome, str]:
    return receipt.outcome, receipt.code


def admin(method: str, body: dict[str, Any]) -> Any:
    return payload_of(method, body, maker=(ADMIN, "k1"), contract="identity")


# --- Effects ----------------------------------------------------------------------------------


def test_a_transaction_changes_the_state_and_gets_a_receipt() -> None:
    """ledger.md, order of the checks, step 8; ledger.md, life of a block, step 3."""
    chain = MemoryChain()
    payload = payload_of(body={"put": {"a": {"b": [1, None, "文"]}}, "emit": ["scribble.done"]})
    receipt = chain.receipt(payload)
    assert short(receipt) == (Outcome.APPLIED, "")
    assert receipt.transaction_id == id_of(payload)
    assert [(event.topic, event.body) for event in receipt.events] == [
        ("scribble.done", b'{"height":1}')
    ]
    assert chain.value("a") == {"b": [1, None, "文"]}


def test_a_refusal_leaves_receipt_and_binding_but_no_effect() -> None:
    """ledger.md, order of the checks, step 7."""
    chain = MemoryChain()
    chain.receipt(payload_of(body={"put": {"a": 1, "gone": 1}}))
    before = dict(chain.state.entries)
    body = {"put": {"a": 2}, "delete": ["gone"], "emit": ["x"], "send": ["data_object"]}
    result = chain.execute(payload_of(body={**body, "refuse": "NOT_TODAY"}))
    (receipt,) = result.receipts
    assert short(receipt) == (Outcome.REFUSED, "NOT_TODAY")
    assert (facts(receipt), receipt.events) == ({"sender": CLERK}, ())
    written = {key for key, value in result.write_set.items() if value != before.get(key)}
    assert all(key.startswith(b"ledger/") for key in written), written


def test_a_bug_in_a_contract_is_not_an_outcome() -> None:
    with pytest.raises(ZeroDivisionError):
        MemoryChain().receipt(payload_of(body={"crash": 1}))


def test_transactions_see_what_earlier_ones_of_the_block_wrote() -> None:
    chain = MemoryChain()
    chain.receipt(payload_of(body={"put": {"k/1": 1, "k/3": 3, "k/5": 5}}))
    result = chain.execute(
        payload_of(body={"put": {"k/2": 2, "k/4": 4}, "delete": ["k/3"]}),
        payload_of("count", {"under": "k/"}),
        payload_of("count", {"under": "k/"}),
    )
    assert json.loads(result.receipts[1].events[0].body) == {"keys": ["k/1", "k/2", "k/4", "k/5"]}
    assert chain.value("counter") == 2


def test_the_write_set_is_net_and_by_bytes_of_the_key() -> None:
    chain = MemoryChain()
    chain.receipt(payload_of(body={"put": {"same": 1, "back": 1}}))
    result = chain.execute(
        payload_of(body={"put": {"same": 1, "b": 1, "a": 1, "never": 1}}),
        payload_of(body={"delete": ["never", "absent"]}),
    )
    keys = [key for key in result.write_set if key.startswith(b"scribble/")]
    assert keys == [b"scribble/a", b"scribble/b"]
    assert list(result.write_set) == sorted(result.write_set)


def test_attempts_and_other_namespaces_are_kept_apart() -> None:
    chain = MemoryChain()
    receipt = chain.receipt(payload_of("parts"))
    assert (receipt.outcome, receipt.events) == (Outcome.APPLIED, ())
    assert [chain.value(key) for key in ("bad", "good", "here", "there")] == [None, 1, 1, None]
    assert chain.state.get(b"other/there") == b"1"
    assert not list(chain.state.scan(b"packets/"))
    chain.receipt(payload_of("copy", {"contract": "other", "key": "there"}))
    assert chain.value("copied") == 1


@pytest.mark.req("G2-08-1")
@pytest.mark.parametrize(
    ("amount", "code"), [(PACKETS_MAX, ""), (PACKETS_MAX + 1, "LIMIT_EXCEEDED")]
)
def test_packets_of_an_attempt_that_refused_leave_room_for_as_many(amount: int, code: str) -> None:
    chain = MemoryChain()
    receipt = chain.receipt(payload_of("parts", {"send": ["data_object"] * amount}))
    assert receipt.code == code
    assert len(receipt.events) == (amount if code == "" else 0)


@pytest.mark.parametrize(
    ("kind", "maximum"), [("writes", WRITES_MAX), ("events", EVENTS_MAX), ("packets", PACKETS_MAX)]
)
@pytest.mark.req("G2-08-1")
def test_a_limit_is_reached_but_not_passed(kind: str, maximum: int) -> None:
    chain = MemoryChain()
    within = maximum // 2 if kind == "packets" else maximum
    assert chain.receipt(payload_of("flood", {"kind": kind, "amount": within})).accepted
    refused = chain.receipt(payload_of("flood", {"kind": kind, "amount": maximum + 1}))
    assert refused.code == "LIMIT_EXCEEDED"
    assert facts(refused)["maximum"] == maximum


@pytest.mark.req("G2-08-1")
def test_what_is_deleted_counts_as_written() -> None:
    chain = MemoryChain()
    for amount, code in ((WRITES_MAX, ""), (WRITES_MAX + 1, "LIMIT_EXCEEDED")):
        assert chain.receipt(payload_of("flood", {"kind": "writes", "amount": WRITES_MAX})).accepted
        assert chain.receipt(payload_of(body={"put": {f"flood/{WRITES_MAX}": 1}})).accepted
        deleted = chain.receipt(payload_of("flood", {"kind": "deletes", "amount": amount}))
        assert deleted.code == code
    assert facts(deleted) == {"limit": "writes", "maximum": WRITES_MAX}
    assert chain.value("flood/0") == 0, "nothing was deleted"


def test_a_value_has_a_largest_size() -> None:
    chain = MemoryChain()
    fits = VALUE_BYTES_MAX - 2
    assert chain.receipt(payload_of("flood", {"kind": "value", "amount": fits})).accepted
    refused = chain.receipt(payload_of("flood", {"kind": "value", "amount": fits + 1}))
    assert facts(refused) == {"limit": "value_bytes", "maximum": VALUE_BYTES_MAX}


def test_what_one_call_writes_and_announces_has_a_largest_size() -> None:
    within = OUTPUT_BYTES_MAX // FLOOD_VALUE_BYTES
    chain = MemoryChain()
    assert chain.receipt(payload_of("flood", {"kind": "output", "amount": within})).accepted
    refused = chain.receipt(payload_of("flood", {"kind": "output", "amount": within + 1}))
    assert facts(refused) == {"limit": "output_bytes", "maximum": OUTPUT_BYTES_MAX}


def test_what_has_no_room_in_a_block_comes_again_in_the_next_and_any_call_has_room_alone() -> None:
    """ledger.md, order of the checks, step 6."""
    chain = MemoryChain()
    most = OUTPUT_BYTES_MAX // FLOOD_VALUE_BYTES
    large = payload_of("flood", {"kind": "output", "amount": most})
    half = payload_of("flood", {"kind": "output", "amount": most // 2 + 1})
    small = payload_of("count")
    result = chain.execute(half, large, small)
    assert [receipt.code for receipt in result.receipts] == ["", "BLOCK_FULL", "BLOCK_FULL"]
    assert facts(result.receipts[1]) == {"maximum": BLOCK_OUTPUT_BYTES_MAX}
    assert chain.value("counter") is None
    again = chain.execute(large, small)
    assert [receipt.code for receipt in again.receipts] == ["", ""]
    assert BLOCK_OUTPUT_BYTES_MAX >= OUTPUT_BYTES_MAX


def test_a_key_has_a_largest_size() -> None:
    refused = MemoryChain().receipt(payload_of(body={"put": {"键" * 200: 1}}))
    assert facts(refused) == {"limit": "key_bytes", "maximum": 500}


def test_unknown_contracts_and_methods_are_refused() -> None:
    chain = MemoryChain()
    assert chain.receipt(payload_of(contract="nothing")).code == "CONTRACT_UNKNOWN"
    assert chain.receipt(payload_of("nothing")).code == "METHOD_UNKNOWN"


# --- Replay, expiry, predecessors -------------------------------------------------------------


def test_p17_an_executed_id_has_no_second_effect() -> None:
    """ledger.md, order of the checks, step 1."""
    chain = MemoryChain()
    payload = payload_of("count")
    result = chain.execute(payload, payload)
    assert [short(receipt)[1] for receipt in result.receipts] == ["", "TRANSACTION_DUPLICATE"]
    assert chain.receipt(payload).code == "TRANSACTION_DUPLICATE"
    assert chain.value("counter") == 1


def test_p17_an_id_stays_known_until_it_has_expired() -> None:
    chain = MemoryChain()
    payload = payload_of("count", expires_height=1_000)
    chain.receipt(payload)
    chain.skip_to(999)
    assert chain.receipt(payload).code == "TRANSACTION_DUPLICATE"
    chain.skip_to(1_000)
    assert chain.receipt(payload).code == "TRANSACTION_DUPLICATE"
    assert chain.state.executed(id_of(payload))
    chain.execute()
    assert not chain.state.executed(id_of(payload)), "no longer needed"
    assert chain.receipt(payload).code == "TRANSACTION_EXPIRED"
    assert chain.value("counter") == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires_height": 5}, ""),
        ({"expires_height": 4}, "TRANSACTION_EXPIRED"),
        ({"expires_time_ms": GENESIS_TIME_MS + 1_000}, ""),
        ({"expires_time_ms": GENESIS_TIME_MS + 999}, "TRANSACTION_EXPIRED"),
    ],
)
def test_expiry_is_the_last_height_and_time(changes: dict[str, Any], code: str) -> None:
    """ledger.md, order of the checks, step 2."""
    chain = MemoryChain()
    chain.skip_to(4)
    payload = payload_of("count", **changes)
    assert chain.receipt(payload, time_ms=GENESIS_TIME_MS + 1_000).code == code
    assert chain.value("counter") == (None if code else 1)


def test_a_transaction_waits_for_its_predecessor() -> None:
    """ledger.md, order of the checks, step 3."""
    chain = MemoryChain()
    first = payload_of("count")
    second = payload_of("count", request_id=REQUEST, after=id_of(first))
    missing = chain.receipt(second)
    assert missing.code == "PREDECESSOR_MISSING"
    assert facts(missing) == {"after": id_of(first).hex()}
    result = chain.execute(second, first, second)
    assert [receipt.code for receipt in result.receipts] == ["PREDECESSOR_MISSING", "", ""]
    assert chain.value("counter") == 2, "the same bytes were tried again"


def test_a_refused_predecessor_counts_as_executed() -> None:
    chain = MemoryChain()
    first = payload_of(body={"refuse": "NO"})
    result = chain.execute(first, payload_of("count", after=id_of(first)))
    assert [receipt.code for receipt in result.receipts] == ["NO", ""]


# --- Request identity -------------------------------------------------------------------------


def test_the_same_request_again_answers_the_first_outcome() -> None:
    """ledger.md, order of the checks, step 5."""
    chain = MemoryChain()
    first = payload_of("count", request_id=REQUEST)
    again = replace(first, expires_height=first.expires_height + 1)
    assert chain.receipt(first).accepted
    receipt = chain.receipt(again)
    assert short(receipt) == (Outcome.REPLAYED, "")
    assert (receipt.accepted, receipt.replay_of, receipt.events) == (True, id_of(first), ())
    assert chain.value("counter") == 1


def test_a_refused_request_stays_refused_even_when_it_would_now_succeed() -> None:
    chain = MemoryChain()
    register = identity_json("did:rem:testing:new")
    request = {"request_id": REQUEST, "maker": (ADMIN, "k1"), "contract": "identity"}
    body = {"did": "did:rem:testing:new", "role": "clerk"}
    first = payload_of("grant_role", body, **request)
    assert chain.receipt(first).code == "IDENTITY_UNKNOWN"
    assert chain.receipt(admin("register_identity", {"identity": register})).accepted
    receipt = chain.receipt(replace(first, expires_height=90))
    assert short(receipt) == (Outcome.REPLAYED, "IDENTITY_UNKNOWN")
    assert facts(receipt) == {"did": "did:rem:testing:new"}
    assert receipt.replay_of == id_of(first)


def test_p17_another_body_under_a_used_request_id_is_refused_and_changes_no_binding() -> None:
    chain = MemoryChain()
    first = payload_of("count", request_id=REQUEST)
    chain.receipt(first)
    other = replace(first, body={"under": "x"})
    receipt = chain.receipt(other)
    assert short(receipt) == (Outcome.REFUSED, "REQUEST_ID_REUSED")
    assert facts(receipt) == {"transaction": id_of(first).hex()}
    assert chain.receipt(replace(other, method="write")).code == "REQUEST_ID_REUSED"
    again = chain.receipt(replace(first, expires_height=77))
    assert (again.outcome, again.replay_of) == (Outcome.REPLAYED, id_of(first))


def test_a_repeated_request_waits_for_its_predecessor_like_any_other() -> None:
    """Else what follows it would overtake what it follows."""
    chain = MemoryChain()
    chain.receipt(payload_of("count", request_id=REQUEST))
    head = payload_of("count")
    again = payload_of("count", request_id=REQUEST, after=id_of(head))
    follower = payload_of("count", after=id_of(again))
    for _ in range(2):
        codes = [receipt.code for receipt in chain.execute(again, follower).receipts]
        assert codes == ["PREDECESSOR_MISSING", "PREDECESSOR_MISSING"]
    receipts = chain.execute(head, again, follower).receipts
    outcomes = [receipt.outcome for receipt in receipts]
    assert outcomes == [Outcome.APPLIED, Outcome.REPLAYED, Outcome.APPLIED]
    assert chain.value("counter") == 3


def test_a_request_repeated_long_after_is_answered_where_it_follows_nothing() -> None:
    chain = MemoryChain()
    head = payload_of("count")
    first = payload_of("count", request_id=REQUEST, after=id_of(head))
    chain.execute(head, first)
    chain.skip_to(1_001)
    chain.execute()
    again = replace(first, expires_height=1_200)
    assert chain.receipt(again).code == "PREDECESSOR_MISSING"
    assert chain.receipt(replace(again, after=None)).outcome is Outcome.REPLAYED


def test_what_never_reached_the_contract_binds_nothing() -> None:
    chain = MemoryChain()
    unknown = payload_of("count", request_id=REQUEST, maker=("did:rem:testing:nobody", "k1"))
    late = payload_of("count", request_id=REQUEST, expires_height=0)
    early = payload_of("count", request_id=REQUEST, after=b"\1" * 32)
    codes = [receipt.code for receipt in chain.execute(unknown, late, early).receipts]
    assert codes == ["SENDER_UNKNOWN", "TRANSACTION_EXPIRED", "PREDECESSOR_MISSING"]
    assert chain.receipt(payload_of("count", request_id=REQUEST)).outcome is Outcome.APPLIED


def test_a_sender_refused_once_is_not_executed_later() -> None:
    """The client was told that it has no effect; nobody may bring it back."""
    chain = MemoryChain()
    payload = payload_of("count", maker=("did:rem:testing:new", "k1"))
    assert chain.receipt(payload).code == "SENDER_UNKNOWN"
    new = identity_json("did:rem:testing:new")
    assert chain.receipt(admin("register_identity", {"identity": new})).accepted
    assert chain.receipt(payload).code == "TRANSACTION_DUPLICATE"
    assert chain.receipt(replace(payload, expires_height=88)).accepted


# --- Senders ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"maker": ("did:rem:testing:nobody", "k1")}, "SENDER_UNKNOWN"),
        ({"maker": (CLERK, "k2")}, "KEY_UNKNOWN"),
        ({"organisation": "did:rem:testing:other"}, "ORGANISATION_MISMATCH"),
        ({"checker": ("did:rem:testing:nobody", "k1")}, "SENDER_UNKNOWN"),
        ({"checker": (ADMIN, "k9")}, "KEY_UNKNOWN"),
        ({"checker": (ADMIN, "k1")}, ""),
    ],
)
def test_signers_are_known_with_their_keys(changes: dict[str, Any], code: str) -> None:
    """ledger.md, order of the checks, step 4."""
    chain = MemoryChain()
    payload = payload_of("count", **changes)
    transaction = read_transaction(signed(payload).encode())
    courtesy = check_stateful(chain.state, transaction, block_time_ms=GENESIS_TIME_MS)
    assert (courtesy.code if isinstance(courtesy, Refused) else "") == code
    assert chain.receipt(payload).code == code


def test_the_key_under_the_signature_is_the_one_that_the_chain_knows() -> None:
    value = genesis_json()
    value["identities"][1]["keys"] = [{**key_json(CLERK, "k7"), "id": "k1"}]
    chain = MemoryChain(genesis_of(value))
    assert chain.receipt(payload_of("count")).code == "KEY_MISMATCH"


def test_a_copy_under_another_key_takes_nothing_from_the_one_that_its_maker_signed() -> None:
    """The id does not cover the signatures: anybody can sign the payload of somebody else."""
    chain = MemoryChain()
    payload = payload_of("count")
    genuine, key = signed(payload), public_key(CLERK, "k9")
    signature = sign(key, transaction_sign_bytes(payload.to_bytes()))
    copy = SignedTransaction(genuine.payload, ((key, signature),))
    assert copy.id() == genuine.id()
    follower = payload_of("count", after=id_of(payload))
    codes = [receipt.code for receipt in chain.execute_signed(copy, signed(follower)).receipts]
    assert codes == ["KEY_MISMATCH", "PREDECESSOR_MISSING"]
    receipts = chain.execute_signed(copy, genuine, copy, signed(follower)).receipts
    assert [receipt.code for receipt in receipts] == [
        "KEY_MISMATCH",
        "",
        "TRANSACTION_DUPLICATE",
        "",
    ]
    assert chain.value("counter") == 2


@pytest.mark.parametrize(
    ("time_ms", "code"), [(1_000, ""), (1_001, "KEY_NOT_VALID"), (-1, "KEY_NOT_VALID")]
)
def test_a_key_signs_within_its_validity(time_ms: int, code: str) -> None:
    value = genesis_json()
    value["genesis_time_ms"] = GENESIS_TIME_MS - 10
    key = value["identities"][1]["keys"][0]
    key.update(not_before_ms=GENESIS_TIME_MS, not_after_ms=GENESIS_TIME_MS + 1_000)
    chain = MemoryChain(genesis_of(value))
    assert chain.receipt(payload_of("count"), time_ms=GENESIS_TIME_MS + time_ms).code == code


@pytest.mark.req("G2-09-6")
def test_a_revoked_key_signs_nothing_from_the_next_transaction_on() -> None:
    chain = MemoryChain()
    result = chain.execute(
        payload_of("count"),
        admin("add_key", {"did": CLERK, "key": key_json(CLERK, "k2")}),
        admin("revoke_key", {"did": CLERK, "key_id": "k1"}),
        payload_of("count"),
        payload_of("count", maker=(CLERK, "k2")),
    )
    assert [receipt.code for receipt in result.receipts] == ["", "", "", "KEY_REVOKED", ""]


@pytest.mark.req("G2-11-4")
def test_a_deactivated_identity_signs_nothing() -> None:
    chain = MemoryChain()
    assert chain.receipt(admin("deactivate", {"did": CLERK})).accepted
    assert chain.receipt(payload_of("count")).code == "IDENTITY_DEACTIVATED"
    role = {"did": CLERK, "role": "clerk"}
    assert chain.receipt(admin("grant_role", role)).code == "IDENTITY_DEACTIVATED"


def test_what_execution_would_refuse_is_said_at_submission() -> None:
    chain = MemoryChain()
    done, waiting = payload_of("count"), payload_of("count", after=b"\2" * 32)
    chain.receipt(done)
    for payload, code in ((done, "TRANSACTION_DUPLICATE"), (waiting, "PREDECESSOR_MISSING")):
        transaction = read_transaction(signed(payload).encode())
        courtesy = check_stateful(chain.state, transaction, block_time_ms=GENESIS_TIME_MS)
        assert isinstance(courtesy, Refused)
        assert courtesy.code == code


# --- Packets ----------------------------------------------------------------------------------


def test_a_packet_is_committed_to_numbered_sealed_and_announced() -> None:
    chain = MemoryChain()
    first = payload_of(body={"send": ["data_object", "data_object", "other"]})
    chain.receipt(payload_of(body={"send": ["data_object"], "refuse": "NO"}))
    receipt = chain.receipt(first)
    bodies = [json.loads(event.body) for event in receipt.events]
    assert [(body["port"], body["sequence"]) for body in bodies] == [
        ("data_object", 1),
        ("data_object", 2),
        ("other", 1),
    ], "a refused call uses no sequence"
    body = bodies[1]
    key, signature = signed(first).signatures[0]
    seal = {"digest_algo": "SM3", "pub_key": {"type": "SM2", "value": key.hex()}}
    assert body["payload"]["header"]["seal"] == [{**seal, "signature": signature.hex()}]
    payload = json.dumps(body["payload"], sort_keys=True, separators=(",", ":")).encode()
    packet = Packet("testing", "supervising", "data_object", 2, payload)
    assert body["commitment"] == packet.commitment().hex()
    stored = chain.state.get(commitment_key("supervising", "data_object", 2).encode())
    assert stored == json.dumps(packet.commitment().hex()).encode()


def test_a_chain_without_destination_sends_no_packets() -> None:
    value = genesis_json()
    value["destination"] = None
    chain = MemoryChain(genesis_of(value))
    assert chain.receipt(payload_of(body={"send": ["data_object"]})).code == (
        "PACKET_DESTINATION_NONE"
    )


def test_organisations_do_not_share_request_ids() -> None:
    value = genesis_json()
    other = "did:rem:testing:otherorg"
    value["identities"].append({**identity_json("did:rem:testing:x"), "organisation": other})
    chain = MemoryChain(genesis_of(value))
    assert chain.receipt(payload_of("count", request_id=REQUEST)).accepted
    foreign = payload_of(
        "count", request_id=REQUEST, maker=("did:rem:testing:x", "k1"), organisation=other
    )
    assert chain.receipt(foreign).outcome is Outcome.APPLIED
    assert other != MARKET
