"""The light client in the chain's state: who may move it, where it freezes, what it forgets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts import light_client
from tests.unit.proof.proof_keys import START_MS, FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import (
    LedgerChain,
    events,
    make_pair,
    receive_body,
    sent_packets,
)

REPLICAS = Replicas(FakeKeys())


@pytest.fixture(params=[1, 3], ids=["v1", "v3"])
def csrc(request: pytest.FixtureRequest) -> LedgerChain:
    return make_pair(FakeKeys(), client_version=request.param)[1]


def certified(header: BlockHeader, certificate: FinalityCertificate) -> dict[str, Json]:
    return {"header": header.encode().hex(), "certificate": certificate.encode().hex()}


def update(
    csrc: LedgerChain,
    header: BlockHeader,
    certificate: FinalityCertificate | None = None,
    *,
    chain: str = "shandong",
) -> Receipt:
    signed = certificate or REPLICAS.certify(header)
    body = {"chain": chain, "set_changes": [], **certified(header, signed)}
    return csrc.call("light_client", "update", body)


def status(csrc: LedgerChain) -> Json:
    record = csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    return record["status"]


def test_an_update_keeps_the_consensus_state_of_its_height(csrc: LedgerChain) -> None:
    header = REPLICAS.header(7)
    receipt = update(csrc, header)
    assert receipt.accepted
    assert [event.topic for event in receipt.events] == ["light_client.updated"]
    state = csrc.value(f"light_client/state/shandong/{7:020d}")
    assert isinstance(state, dict)
    assert state["state_root"] == header.state_root.hex()
    assert state["header_hash"] == header.hash().hex()


def test_g34_a_relayer_without_the_role_moves_nothing(csrc: LedgerChain) -> None:
    key = f"identity/did/{csrc.did}".encode()
    record = json.loads(csrc.state.values[key])
    record["roles"] = ["reporter"]
    csrc.state.values[key] = json.dumps(record).encode()
    receipt = update(csrc, REPLICAS.header(7))
    assert receipt.code == "ROLE_MISSING"
    assert csrc.value("light_client/client/shandong") is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"revoked": True}, "KEY_REVOKED"),
        ({"not_after_ms": START_MS - 1}, "KEY_NOT_VALID"),
        ({"not_before_ms": START_MS + 10**12}, "KEY_NOT_VALID"),
    ],
)
def test_g34_a_relayer_whose_key_was_revoked_or_is_out_of_its_time_moves_nothing(
    csrc: LedgerChain, change: dict[str, Json], code: str
) -> None:
    key = f"identity/did/{csrc.did}".encode()
    record = json.loads(csrc.state.values[key])
    for each in record["keys"].values():
        each.update(change)
    csrc.state.values[key] = json.dumps(record).encode()
    receipt = update(csrc, REPLICAS.header(7))
    assert (receipt.code, receipt.events) == (code, ())
    assert csrc.value("light_client/client/shandong") is None


@pytest.mark.parametrize("signers", [(0, 1), (0, 0, 1), (1, 0, 2)])
def test_g1_g2_less_than_a_quorum_of_distinct_signers_moves_nothing(
    csrc: LedgerChain, signers: tuple[int, ...]
) -> None:
    header = REPLICAS.header(7)
    receipt = update(csrc, header, REPLICAS.certify(header, signers))
    assert receipt.code == "HEADER_UNVERIFIED"
    assert csrc.value("light_client/client/shandong") is None


def test_g9_a_header_from_the_future_is_refused(csrc: LedgerChain) -> None:
    ahead = light_client.CLOCK_AHEAD_MS_MAX // 1_000
    just_within = REPLICAS.header(ahead + 1)
    assert just_within.block_time_ms == START_MS + 1_000 + light_client.CLOCK_AHEAD_MS_MAX
    assert update(csrc, just_within).accepted
    receipt = update(csrc, REPLICAS.header(ahead + 10))
    assert receipt.code == "HEADER_UNVERIFIED"
    assert b"future" in receipt.detail


def test_g8_a_lower_height_that_is_not_known_is_refused(csrc: LedgerChain) -> None:
    assert update(csrc, REPLICAS.header(7)).accepted
    assert update(csrc, REPLICAS.header(6)).code == "HEADER_UNVERIFIED"


def test_g10_a_header_of_another_chain_under_the_same_keys_is_refused(csrc: LedgerChain) -> None:
    other = Replicas(FakeKeys(), "beijing")
    assert update(csrc, other.header(7), other.certify(other.header(7))).code == "HEADER_UNVERIFIED"
    assert update(csrc, other.header(7), chain="beijing").code == "CLIENT_UNKNOWN"


def test_g37_the_same_header_from_two_relayers_has_one_effect(csrc: LedgerChain) -> None:
    assert update(csrc, REPLICAS.header(7)).accepted
    assert update(csrc, REPLICAS.header(9)).accepted
    for height in (7, 9):
        again = update(csrc, REPLICAS.header(height))
        assert again.accepted
        assert again.events == ()
    record = csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    assert record["states"] == 2


@pytest.mark.parametrize("height", [7, 9])
def test_g7_two_certified_headers_at_one_height_freeze_the_client_and_keep_the_evidence(
    csrc: LedgerChain, height: int
) -> None:
    assert update(csrc, REPLICAS.header(7)).accepted
    assert update(csrc, REPLICAS.header(9)).accepted
    receipt = update(csrc, REPLICAS.header(height, tag="other"))
    assert receipt.accepted
    (event,) = events(receipt, "light_client.frozen")
    assert event["known_hash"] == REPLICAS.header(height).hash().hex()
    assert event["other_hash"] == REPLICAS.header(height, tag="other").hash().hex()
    assert status(csrc) == "FROZEN"
    kept = (f"light_client/{kind}/shandong/{height:020d}" for kind in ("fork", "misbehaviour"))
    assert any(csrc.state.scan(each.encode()) for each in kept)
    assert update(csrc, REPLICAS.header(12)).code == "CLIENT_FROZEN"


def test_g7_a_certified_header_that_does_not_continue_the_one_before_it_is_a_fork(
    csrc: LedgerChain,
) -> None:
    """The next height names its parent; another parent shows a second history below it."""
    assert update(csrc, REPLICAS.header(7)).accepted
    receipt = update(csrc, REPLICAS.header(8))
    (event,) = events(receipt, "light_client.frozen")
    assert event["known_hash"] == REPLICAS.header(7).hash().hex()
    assert status(csrc) == "FROZEN"


def test_an_unsigned_other_header_at_a_known_height_freezes_nothing(csrc: LedgerChain) -> None:
    assert update(csrc, REPLICAS.header(7)).accepted
    forged = REPLICAS.header(7, tag="other")
    assert update(csrc, forged, REPLICAS.certify(forged, (0, 1))).code == "HEADER_UNVERIFIED"
    assert status(csrc) == "ACTIVE"


def misbehaviour(csrc: LedgerChain, first: BlockHeader, second: BlockHeader) -> Receipt:
    body: dict[str, Json] = {
        "chain": "shandong",
        "first": certified(first, REPLICAS.certify(first, (0, 1, 2))),
        "second": certified(second, REPLICAS.certify(second, (1, 2, 3))),
    }
    return csrc.call("light_client", "submit_misbehaviour", body)


def test_g7_misbehaviour_evidence_names_the_entities_that_signed_both(csrc: LedgerChain) -> None:
    assert update(csrc, REPLICAS.header(3)).accepted
    receipt = misbehaviour(csrc, REPLICAS.header(7), REPLICAS.header(7, tag="other"))
    (event,) = events(receipt, "light_client.frozen")
    is_named = csrc.genesis.contracts[1].version >= light_client.NAMES_FROM
    assert event["replicas"] == [
        {
            "replica": number,
            "entity_id": f"entity-{number}",
            "entity_name": f"机构{number}",
            **({"vote_key": REPLICAS.set.members[number].public_key.hex()} if is_named else {}),
        }
        for number in (1, 2)
    ]
    assert status(csrc) == "FROZEN"
    again = misbehaviour(csrc, REPLICAS.header(7), REPLICAS.header(7, tag="other"))
    assert again.accepted
    assert again.events == ()


@pytest.mark.parametrize(
    ("first", "second"), [((7, ""), (7, "")), ((7, ""), (9, "other"))], ids=["same", "two heights"]
)
def test_headers_that_do_not_exclude_each_other_are_no_misbehaviour(
    csrc: LedgerChain, first: tuple[int, str], second: tuple[int, str]
) -> None:
    assert update(csrc, REPLICAS.header(3)).accepted
    receipt = misbehaviour(
        csrc,
        REPLICAS.header(first[0], tag=first[1]),
        REPLICAS.header(second[0], tag=second[1]),
    )
    assert receipt.code == "HEADER_UNVERIFIED"
    assert status(csrc) == "ACTIVE"


@pytest.fixture
def changed(csrc: LedgerChain) -> LedgerChain:
    """The client has followed a set change: epoch 0 ended at height 5, 12 is of epoch 1."""
    second = REPLICAS.next_epoch()
    end, later = REPLICAS.header(5, next_set=second.set), second.header(12)
    change: Json = {
        **certified(end, REPLICAS.certify(end)),
        "replica_set": second.set.encode().hex(),
    }
    body: dict[str, Json] = {"chain": "shandong", "set_changes": [change]}
    body |= certified(later, second.certify(later))
    assert csrc.call("light_client", "update", body).accepted
    return csrc


@pytest.mark.req("G2-10-3")
def test_what_a_replaced_set_signs_above_its_end_freezes_nothing(changed: LedgerChain) -> None:
    """A set is replaced because its keys may be in other hands: they must not stop the link."""
    refused = [
        update(changed, REPLICAS.header(12, tag="forged")),
        misbehaviour(changed, REPLICAS.header(90), REPLICAS.header(90, tag="other")),
        misbehaviour(changed, REPLICAS.header(6), REPLICAS.header(6, tag="other")),
    ]
    for receipt in refused:
        assert receipt.code == "HEADER_UNVERIFIED"
        assert "epoch 0 ended below it" in receipt.detail.decode()
    assert status(changed) == "ACTIVE"


@pytest.mark.req("G2-10-3")
def test_what_a_replaced_set_signed_twice_within_its_epoch_is_a_fork_for_ever(
    changed: LedgerChain,
) -> None:
    assert misbehaviour(changed, REPLICAS.header(5), REPLICAS.header(5, tag="other")).accepted
    assert status(changed) == "FROZEN"


def test_g22_a_frozen_client_proves_nothing_old_heights_included() -> None:
    shandong, csrc = make_pair(FakeKeys())
    sent = shandong.call("reports", "report", {"count": 1, "broken": False})
    block = shandong.blocks[1]
    assert update(csrc, block.header, block.certificate).accepted
    body = receive_body(shandong, sent_packets(sent))
    assert misbehaviour(csrc, REPLICAS.header(7), REPLICAS.header(7, tag="other")).accepted
    assert csrc.call("packets", "receive", body).code == "CLIENT_FROZEN"


def test_set_changes_are_followed_one_epoch_at_a_time(csrc: LedgerChain) -> None:
    second = REPLICAS.next_epoch()
    third = second.next_epoch()
    last_of_first = REPLICAS.header(5, next_set=second.set)
    last_of_second = second.header(9, next_set=third.set)
    changes: list[Json] = [
        {
            **certified(last_of_first, REPLICAS.certify(last_of_first)),
            "replica_set": second.set.encode().hex(),
        },
        {
            **certified(last_of_second, second.certify(last_of_second)),
            "replica_set": third.set.encode().hex(),
        },
    ]
    header = third.header(12)
    body: dict[str, Json] = {
        "chain": "shandong",
        **certified(header, third.certify(header)),
        "set_changes": changes[1:],
    }
    skipped = csrc.call("light_client", "update", body)
    assert skipped.code == "HEADER_UNVERIFIED"
    assert csrc.call("light_client", "update", {**body, "set_changes": changes}).accepted
    record = csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    assert record["epoch"] == 2
    for epoch in (1, 2):
        assert csrc.value(f"light_client/set/shandong/{epoch:020d}") is not None
    replayed = csrc.call("light_client", "update", {**body, "set_changes": changes[:1]})
    assert replayed.accepted  # The header is known: nothing is looked at, nothing changes.
    assert replayed.events == ()
    newer = third.header(13)
    stale = {**body, **certified(newer, third.certify(newer)), "set_changes": changes[:1]}
    assert csrc.call("light_client", "update", stale).code == "HEADER_UNVERIFIED"


def test_only_the_last_consensus_states_are_kept(
    csrc: LedgerChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light_client, "CONSENSUS_STATES_MAX", 3)
    for height in range(2, 14, 2):
        assert update(csrc, REPLICAS.header(height)).accepted
    kept = [key for key, _ in csrc.state.scan(b"light_client/state/shandong/")]
    assert [int(key[-20:]) for key in kept] == [8, 10, 12]
    record = csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    assert record["states"] == len(kept)
    body: dict[str, Json] = {"source": "shandong", "height": 2, "packets": []}
    assert csrc.call("packets", "receive", body).code == "HEIGHT_UNKNOWN"


def test_a_client_that_was_silent_for_a_month_is_stale_but_not_dead(csrc: LedgerChain) -> None:
    """A silent chain is caught up with by its next header; nothing expires."""
    assert update(csrc, REPLICAS.header(1)).accepted
    month_ms = 30 * 86_400_000
    csrc.header = replace(csrc.header, block_time_ms=csrc.header.block_time_ms + month_ms)
    assert update(csrc, REPLICAS.header(30 * 86_400)).accepted


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"header": "zz"}, "header"),
        ({"header": "00"}, "header or certificate"),
        ({"certificate": "00" * 9_000}, "certificate"),
        ({"set_changes": {}}, "set_changes"),
        ({"set_changes": [{}]}, "set_changes[0].certificate"),
        ({"set_changes": [{}] * 9}, "set_changes"),
        ({"chain": 7}, "chain"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_malformed_body_names_the_field(
    csrc: LedgerChain, change: dict[str, Json], field: str
) -> None:
    header = REPLICAS.header(7)
    body: dict[str, Json] = {"chain": "shandong", "set_changes": []}
    body |= certified(header, REPLICAS.certify(header)) | change
    receipt = csrc.call("light_client", "update", body)
    assert receipt.code == "BODY_MALFORMED"
    assert json.loads(receipt.detail)["field"] == field


def test_numbers_that_json_state_cannot_carry_are_refused(csrc: LedgerChain) -> None:
    """A Byzantine quorum may certify any height; it must not be able to stop this chain."""
    header = REPLICAS.header(1 << 53)
    assert update(csrc, header).code == "BODY_MALFORMED"
