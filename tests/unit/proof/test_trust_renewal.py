"""A TRUST file's chain renewed: what is proven from its last checkpoint, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.light_client import SET_CHANGES_MAX, SetChange
from guqiao_sdk.proof.trust import CHECKPOINTS_MAX, ChainTrust, Checkpoint
from guqiao_sdk.proof.trust_renewal import renewed
from tests.unit.proof.proof_keys import FakeKeys, Replicas

KEYS = FakeKeys()
REPLICAS = Replicas(KEYS)
START = Checkpoint(0, 0, b"\x01" * 32, REPLICAS.set)
CHAIN = ChainTrust("shandong", b"g" * 32, (START,))

pytestmark = pytest.mark.req("T2-14")


def checkpoint(header: BlockHeader, of: Replicas) -> Checkpoint:
    return Checkpoint(header.epoch, header.height, header.hash(), of.set)


def brought(
    header: BlockHeader, of: Replicas = REPLICAS, *changes: SetChange, chain: ChainTrust = CHAIN
) -> ChainTrust:
    return renewed(chain, header, of.certify(header), changes, KEYS.verify)


def epochs(count: int) -> tuple[list[SetChange], Replicas]:
    """So many set changes, each ten heights above the one before, and the last set's replicas."""
    of, changes = REPLICAS, list[SetChange]()
    for number in range(1, count + 1):
        following = of.next_epoch()
        end = of.header(10 * number, next_set=following.set)
        changes.append(SetChange(end, of.certify(end), following.set))
        of = following
    return changes, of


def test_a_later_header_becomes_a_checkpoint_and_the_first_stays() -> None:
    header = REPLICAS.header(7)
    assert brought(header).checkpoints == (START, checkpoint(header, REPLICAS))


def test_within_an_epoch_the_file_does_not_grow_with_each_renewal() -> None:
    once = brought(REPLICAS.header(7))
    twice = brought(REPLICAS.header(9), chain=once)
    assert twice.checkpoints == (START, checkpoint(REPLICAS.header(9), REPLICAS))
    assert brought(REPLICAS.header(9), chain=twice) == twice


@pytest.mark.parametrize("count", [1, 2, SET_CHANGES_MAX + 1])
def test_set_changes_are_followed_however_many_and_each_epoch_keeps_a_checkpoint(
    count: int,
) -> None:
    changes, of = epochs(count)
    header = of.header(10 * count + 5)
    points = brought(header, of, *changes).checkpoints
    assert [point.epoch for point in points] == [*range(count + 1)]
    assert points[0] == START
    assert points[-1] == checkpoint(header, of)
    for point, change in zip(points[1:-1], changes[1:], strict=True):
        assert (point.height, point.header_hash) == (change.header.height, change.header.hash())
        assert point.replica_set == changes[change.header.epoch - 1].replica_set


def test_a_set_change_that_is_left_out_is_missed() -> None:
    changes, of = epochs(2)
    with pytest.raises(ProofError) as caught:
        brought(of.header(25), of, changes[1])
    assert caught.value.code == "HEADER_UNVERIFIED"


def test_a_header_that_less_than_a_quorum_signed_renews_nothing() -> None:
    header = REPLICAS.header(7)
    with pytest.raises(ProofError):
        renewed(CHAIN, header, REPLICAS.certify(header, (0, 1)), (), KEYS.verify)


def test_what_the_file_excludes_is_a_fork() -> None:
    known = brought(REPLICAS.header(7))
    for other in (REPLICAS.header(7, tag="other"), REPLICAS.header(8)):
        with pytest.raises(ProofError) as caught:
            brought(other, chain=known)
        assert caught.value.code == "CLIENT_FROZEN"


def test_nodes_that_are_behind_the_file_take_nothing_from_it() -> None:
    known = brought(REPLICAS.header(7))
    with pytest.raises(ProofError) as caught:
        brought(REPLICAS.header(6), chain=known)
    assert "trusted already" in caught.value.detail


def test_a_chain_without_a_checkpoint_has_nothing_to_go_on_from() -> None:
    with pytest.raises(ProofError) as caught:
        brought(REPLICAS.header(7), chain=replace(CHAIN, checkpoints=()))
    assert caught.value.code == "TRUST_INVALID"


def test_a_file_without_room_is_not_written_past_its_bound() -> None:
    epochs_before = CHECKPOINTS_MAX
    points = tuple(
        Checkpoint(number, 1 + number, b"\x02" * 32, Replicas(KEYS, epoch=number).set)
        for number in range(epochs_before)
    )
    last = Replicas(KEYS, epoch=epochs_before - 1)
    full = replace(CHAIN, checkpoints=points)
    with pytest.raises(ProofError) as caught:
        brought(last.header(5_000), last, chain=full)
    assert caught.value.code == "TRUST_INVALID"
