"""What was signed in an epoch that was lost with its quorum convicts nobody (pbft.md, Q7).

The replicas that are gone may have begun epochs which the restart does not know of, so its own have
the same numbers; and whoever lost its folder in one of them votes anew.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import ZERO_HASH, BlockHeader
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import restarted_set
from services.consensus.domain.contracts.replica_sets import first_records, schedule
from services.consensus.domain.messages import Digest, Prepare, ReplicaId, SequenceNumber, View
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import (
    exclude_each_other,
    sign_bytes,
    statement_bytes,
    statement_of,
)
from tests.simulation.keys import public_key, replica_set, sign_with, verify

pytestmark = pytest.mark.req("G2-13-2", "G2-16-4")

OLD = replica_set(4)
HEADER = BlockHeader(
    chain_id=OLD.chain_id,
    epoch=0,
    height=7,
    parent=ZERO_HASH,
    batch_digest=ZERO_HASH,
    block_time_ms=1,
    transactions_root=ZERO_HASH,
    receipts_root=ZERO_HASH,
    state_root=b"s" * 32,
    next_set_hash=OLD.hash(),
)
LOST = replace(OLD, epoch=1)
"""Scheduled above the header, and in force at replicas that are gone."""
RESTARTED = restarted_set(HEADER, OLD, OLD.members)


def prepared(present: ReplicaSet, digest: bytes) -> Prepare:
    signer = Signer(ReplicaId(1), present, sign_with(public_key(1)))
    return signer.prepare(View(0), SequenceNumber(30), Digest(digest))


class Kept(dict[str, Json]):
    """The keys of the governance contract."""

    def put(self, key: str, value: Json) -> None:
        self[key] = value


def test_q7_two_votes_of_epochs_with_one_number_are_no_evidence_where_a_restart_lies_between() -> (
    None
):
    """They exclude each other, and one of both does not hold under the set of that number."""
    assert LOST.epoch == RESTARTED.epoch
    votes = (prepared(LOST, b"a" * 32), prepared(RESTARTED, b"b" * 32))
    first, second = (statement_of(vote, RESTARTED) for vote in votes)
    assert exclude_each_other(first, second)
    key = RESTARTED.members[1].public_key
    held = [
        verify(key, statement_bytes(each, RESTARTED), each.signature) for each in (first, second)
    ]
    assert held == [False, True]


def test_q7_a_set_that_follows_a_restarted_one_keeps_its_lineage() -> None:
    """Else the second lost epoch would have what the second one behind the restart has."""
    state = Kept(first_records(RESTARTED, window=4))
    wanted = replace(OLD, epoch=0)
    following = schedule(state, wanted, guilty=(), height=40, not_before=0).replica_set
    assert (following.epoch, following.lineage) == (2, RESTARTED.lineage)
    assert ReplicaSet.decode(following.encode()) == following
    vote = prepared(replace(LOST, epoch=2), b"a" * 32)
    assert vote.signature != prepared(following, b"a" * 32).signature


def test_q4_every_restart_has_a_lineage_of_its_own() -> None:
    members = (*OLD.members[:3], replace(OLD.members[3], public_key=public_key(8)))
    lineages = {
        restarted_set(HEADER, OLD, OLD.members).lineage,
        restarted_set(replace(HEADER, height=8), OLD, OLD.members).lineage,
        restarted_set(HEADER, RESTARTED, OLD.members).lineage,
        restarted_set(HEADER, OLD, members).lineage,
    }
    assert len(lineages) == 4
    assert all(len(each) == 32 for each in lineages)


@pytest.mark.parametrize("jailed", [(), (2,)])
def test_q4_a_set_with_a_lineage_has_one_encoding_and_one_without_keeps_its_own(
    jailed: tuple[int, ...],
) -> None:
    plain, restarted = (replace(each, jailed=jailed) for each in (LOST, RESTARTED))
    assert ReplicaSet.decode(restarted.encode()) == restarted
    assert restarted.encode().startswith(plain.encode())
    assert restarted.hash() != plain.hash()
    for spoiled in (restarted.encode()[:-1], restarted.encode() + b"\0"):
        with pytest.raises(MalformedError):
            ReplicaSet.decode(spoiled)


def test_q7_what_is_signed_without_a_restart_is_what_it_always_was() -> None:
    vote = prepared(OLD, b"a" * 32)
    assert sign_bytes(vote, OLD).startswith(b"\x00\x00\x00\rguqiao/vote/1")
    assert sign_bytes(vote, RESTARTED).startswith(b"\x00\x00\x00\rguqiao/vote/2")
