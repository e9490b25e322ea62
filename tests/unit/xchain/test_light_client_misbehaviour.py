"""Misbehaviour from version 3 of `light_client` on: however it comes, who signed both is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.misbehaviour import CertifiedHeader, judge_conflict
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Receipt
from services.consensus.domain.contracts import light_client, light_client_freezing
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.xchain.ledger_chain import LedgerChain, events, make_pair

KEYS = FakeKeys()
REPLICAS = Replicas(KEYS)
SECOND = REPLICAS.next_epoch()


@pytest.fixture
def csrc() -> LedgerChain:
    return make_pair(KEYS, client_version=3)[1]


def certified(
    header: BlockHeader, signers: tuple[int, ...] = (0, 1, 2), of: Replicas = REPLICAS
) -> dict[str, Json]:
    certificate = of.certify(header, signers)
    return {"header": header.encode().hex(), "certificate": certificate.encode().hex()}


def update(csrc: LedgerChain, brought: dict[str, Json], *set_changes: Json) -> Receipt:
    body: dict[str, Json] = {"chain": "shandong", "set_changes": [*set_changes], **brought}
    return csrc.call("light_client", "update", body)


def submit(csrc: LedgerChain, first: dict[str, Json], second: dict[str, Json]) -> Receipt:
    body: dict[str, Json] = {"chain": "shandong", "first": first, "second": second}
    return csrc.call("light_client", "submit_misbehaviour", body)


def set_change(end: BlockHeader, signers: tuple[int, ...] = (0, 1, 2)) -> dict[str, Json]:
    return {**certified(end, signers), "replica_set": SECOND.set.encode().hex()}


def frozen(receipt: Receipt) -> dict[str, Any]:
    assert receipt.accepted, receipt.detail
    (event,) = events(receipt, "light_client.frozen")
    return event


def named(csrc: LedgerChain) -> set[str]:
    """The keys that are kept as those of signers of two histories."""
    prefix = b"light_client/named/shandong/"
    return {key.removeprefix(prefix).decode() for key, _ in csrc.state.scan(prefix)}


def keys_of(numbers: tuple[int, ...], replica_set: ReplicaSet = REPLICAS.set) -> set[str]:
    return {replica_set.members[number].public_key.hex() for number in numbers}


def status(csrc: LedgerChain) -> Json:
    record = csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    return record["status"]


def judged_again(event: dict[str, Any]) -> set[str]:
    """What anybody makes of the evidence in an event, with nothing else at hand."""
    halves = [
        CertifiedHeader(
            BlockHeader.decode(bytes.fromhex(half["header"])),
            FinalityCertificate.decode(bytes.fromhex(half["certificate"])),
            ReplicaSet.decode(bytes.fromhex(half["replica_set"])),
        )
        for half in (event["first"], event["second"])
    ]
    shown = judge_conflict(halves[0], halves[1], KEYS.verify)
    return {member.public_key.hex() for member in shown.signers}


# --- What an update brings --------------------------------------------------------------------


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("height", [7, 9], ids=["below", "latest"])
def test_g7_an_update_with_another_header_of_a_height_names_who_signed_both(
    csrc: LedgerChain, height: int
) -> None:
    for each in (7, 9):
        assert update(csrc, certified(REPLICAS.header(each), (0, 1, 2))).accepted
    event = frozen(update(csrc, certified(REPLICAS.header(height, tag="other"), (1, 2, 3))))
    assert status(csrc) == "FROZEN"
    assert [row["entity_id"] for row in event["replicas"]] == ["entity-1", "entity-2"]
    assert {row["vote_key"] for row in event["replicas"]} == keys_of((1, 2)) == named(csrc)
    assert judged_again(event) == named(csrc)
    kept = csrc.state.scan(f"light_client/misbehaviour/shandong/{height:020d}/".encode())
    assert len(list(kept)) == 1


@pytest.mark.req("G2-16-4")
def test_g7_an_update_that_names_another_parent_names_who_signed_both(csrc: LedgerChain) -> None:
    assert update(csrc, certified(REPLICAS.header(7), (0, 1, 2))).accepted
    event = frozen(update(csrc, certified(REPLICAS.header(8), (0, 2, 3))))
    assert event["height"] == 7
    assert event["known_hash"] == REPLICAS.header(7).hash().hex()
    assert event["other_hash"] == REPLICAS.header(8).parent.hex()
    assert named(csrc) == keys_of((0, 2)) == judged_again(event)


@pytest.mark.req("G2-16-4")
def test_g7_another_end_of_the_epoch_in_a_set_change_names_who_signed_both(
    csrc: LedgerChain,
) -> None:
    assert update(csrc, certified(REPLICAS.header(5))).accepted
    later = certified(SECOND.header(12), of=SECOND)
    event = frozen(
        update(csrc, later, set_change(REPLICAS.header(5, next_set=SECOND.set), (1, 2, 3)))
    )
    assert named(csrc) == keys_of((1, 2)) == judged_again(event)


def mixed() -> Replicas:
    """The next epoch, in which nobody but replicas 0 and 1 has a new key."""

    class Mixed(Replicas):
        def name(self, index: int) -> str:
            return f"shandong/{1 if index < 2 else 0}/{index}"

    return Mixed(KEYS, epoch=1)


@pytest.mark.req("G2-16-4")
def test_g7_across_a_set_change_the_keys_that_signed_in_both_epochs_are_named(
    csrc: LedgerChain,
) -> None:
    """The end of an epoch comes with the first header of the next, which names another parent."""
    after = mixed()
    end = REPLICAS.header(5, next_set=after.set)
    change = {**certified(end, (0, 1, 2)), "replica_set": after.set.encode().hex()}
    event = frozen(update(csrc, certified(after.header(6), (0, 2, 3), after), change))
    assert event["height"] == 5
    assert named(csrc) == keys_of((2,)) == judged_again(event)


def test_a_header_with_its_certificate_is_kept_as_long_as_what_it_says(
    csrc: LedgerChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light_client, "CONSENSUS_STATES_MAX", 2)
    for height in (2, 4, 6):
        assert update(csrc, certified(REPLICAS.header(height))).accepted
    kept = [key for key, _ in csrc.state.scan(b"light_client/certified/shandong/")]
    assert kept == [f"light_client/certified/shandong/{each:020d}".encode() for each in (4, 6)]


def test_of_a_header_that_an_earlier_version_took_nobody_is_named_and_the_client_freezes() -> None:
    csrc = make_pair(KEYS, client_version=2)[1]
    assert update(csrc, certified(REPLICAS.header(7))).accepted
    csrc.genesis = replace(
        csrc.genesis,
        contracts=tuple(
            replace(each, version=3) if each.name == "light_client" else each
            for each in csrc.genesis.contracts
        ),
    )
    other = certified(REPLICAS.header(7, tag="other"), (1, 2, 3))
    event = frozen(update(csrc, other))
    assert (event["first"], event["replicas"]) == (None, [])
    assert event["second"]["certificate"] == other["certificate"]
    assert status(csrc) == "FROZEN"
    assert named(csrc) == set()
    shown = frozen(submit(csrc, certified(REPLICAS.header(7), (0, 1, 2)), other))
    assert named(csrc) == keys_of((1, 2)) == judged_again(shown)


# --- What is brought as evidence --------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1], ids=["lower first", "higher first"])
def test_evidence_may_be_a_header_and_the_next_one_of_another_parent(
    csrc: LedgerChain, order: int
) -> None:
    pair = [certified(REPLICAS.header(7), (0, 1, 2)), certified(REPLICAS.header(8), (1, 2, 3))]
    event = frozen(submit(csrc, *pair[::order]))
    assert (event["height"], named(csrc)) == (7, keys_of((1, 2)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (REPLICAS.header(7), REPLICAS.header(7)),
        (REPLICAS.header(7), REPLICAS.header(9)),
        (REPLICAS.header(7), replace(REPLICAS.header(8), parent=REPLICAS.header(7).hash())),
    ],
    ids=["same", "heights apart", "child"],
)
def test_headers_of_one_history_are_no_evidence(
    csrc: LedgerChain, first: BlockHeader, second: BlockHeader
) -> None:
    assert update(csrc, certified(REPLICAS.header(3))).accepted
    assert submit(csrc, certified(first), certified(second)).code == "HEADER_UNVERIFIED"
    assert status(csrc) == "ACTIVE"


@pytest.mark.parametrize("spoiled", ["first", "second"])
def test_evidence_of_which_one_half_has_no_quorum_is_none(csrc: LedgerChain, spoiled: str) -> None:
    assert update(csrc, certified(REPLICAS.header(3))).accepted
    halves = {
        half: certified(REPLICAS.header(7, tag=half), (0, 1) if half == spoiled else (0, 1, 2))
        for half in ("first", "second")
    }
    assert submit(csrc, halves["first"], halves["second"]).code == "HEADER_UNVERIFIED"
    assert status(csrc) == "ACTIVE"
    assert named(csrc) == set()


def test_further_evidence_adds_names_and_what_adds_none_is_not_kept(csrc: LedgerChain) -> None:
    def evidence(height: int, signers: tuple[int, ...]) -> Receipt:
        return submit(
            csrc,
            certified(REPLICAS.header(height), (0, 1, 2)),
            certified(REPLICAS.header(height, tag="other"), signers),
        )

    assert frozen(evidence(7, (1, 2, 3)))["height"] == 7
    assert evidence(7, (1, 2, 3)).events == ()
    assert evidence(9, (1, 2, 3)).events == ()
    frozen(evidence(7, (0, 1, 3)))
    assert named(csrc) == keys_of((0, 1, 2))
    record = csrc.value("light_client/client/shandong")
    assert isinstance(record, dict)
    assert (record["status"], record["fork_height"], record["evidence"]) == ("FROZEN", 7, 2)


def test_earlier_forks_are_kept_up_to_a_bound(
    csrc: LedgerChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light_client_freezing, "FORKS_MAX", 2)
    heights = []
    for height in (9, 7, 5):
        pair = (certified(REPLICAS.header(height, tag=tag), (0, 1, 2)) for tag in ("", "other"))
        assert submit(csrc, *pair).accepted
        record = csrc.value("light_client/client/shandong")
        assert isinstance(record, dict)
        heights.append(record["fork_height"])
    assert heights == [9, 7, 7]
