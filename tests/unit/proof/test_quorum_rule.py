"""The quorum rule, for every size of replica set that the rules allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.quorum import (
    REPLICAS_MAX,
    REPLICAS_MIN,
    Member,
    ReplicaSet,
    ReplicaSetError,
    faulty_max,
    quorum,
)
from tests.unit.proof.proof_keys import FakeKeys, Replicas

KEYS = FakeKeys()


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("size", range(REPLICAS_MIN, REPLICAS_MAX + 1))
def test_p01_any_two_quorums_share_an_honest_replica_and_the_honest_can_form_one(size: int) -> None:
    q, f = quorum(size), faulty_max(size)
    assert 3 * f + 1 <= size < 3 * (f + 1) + 1
    assert 2 * q - size > f
    assert q <= size - f
    assert q == -(-(size + f + 1) // 2)


def with_members(*members: Member) -> ReplicaSet:
    return ReplicaSet("shandong", 0, members)


def code_of(replica_set: ReplicaSet) -> str:
    with pytest.raises(ReplicaSetError) as caught:
        replica_set.check()
    return caught.value.code


@given(st.integers(REPLICAS_MIN, 20), st.integers(0, 50))
def test_the_primary_of_a_view_is_a_member_and_each_in_turn(size: int, view: int) -> None:
    replica_set = Replicas(KEYS, size=size).set
    replica_set.check()
    turns = [replica_set.primary(view + step) for step in range(size)]
    assert sorted(turns) == list(range(size))


@pytest.mark.req("G2-07-2")
@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_g11_a_set_of_fewer_than_four_is_refused(size: int) -> None:
    assert code_of(Replicas(KEYS, size=size).set) == "REPLICAS_TOO_FEW"


def test_a_set_above_the_bound_is_refused() -> None:
    assert code_of(Replicas(KEYS, size=REPLICAS_MAX + 1).set) == "GENESIS_INVALID"
    Replicas(KEYS, size=REPLICAS_MAX).set.check()


@pytest.mark.parametrize(
    "key", [bytes(65), b"\x04" + bytes(64), b"\x03" + b"k" * 64, b"\x04" + b"k" * 63, b""]
)
def test_g11_a_zero_or_malformed_key_is_refused(key: bytes) -> None:
    members = list(Replicas(KEYS).set.members)
    members[2] = replace(members[2], public_key=key)
    assert code_of(with_members(*members)) == "GENESIS_INVALID"


def test_g11_a_duplicate_key_or_a_number_out_of_order_is_refused() -> None:
    members = list(Replicas(KEYS).set.members)
    doubled = [*members[:3], replace(members[3], public_key=members[0].public_key)]
    assert code_of(with_members(*doubled)) == "GENESIS_INVALID"
    assert code_of(with_members(*reversed(members))) == "GENESIS_INVALID"


@pytest.mark.parametrize(
    "change", [{"entity_id": "企" * 22}, {"entity_id": ""}, {"entity_name": "企" * 171}]
)
def test_a_set_that_could_not_be_read_back_from_its_encoding_is_refused(
    change: dict[str, Any],
) -> None:
    """Lengths are bounded in bytes, and three bytes make one Chinese character."""
    members = list(Replicas(KEYS).set.members)
    members[1] = replace(members[1], **change)
    assert code_of(with_members(*members)) == "GENESIS_INVALID"
    members[1] = replace(members[1], entity_id="企" * 21, entity_name="企" * 170)
    fitting = with_members(*members)
    fitting.check()
    assert ReplicaSet.decode(fitting.encode()) == fitting


@pytest.mark.req("G2-16-3")
def test_one_entity_may_not_hold_all_or_a_quorum_of_the_keys() -> None:
    members = Replicas(KEYS, size=7).set.members

    def held_by_one(count: int) -> ReplicaSet:
        return with_members(
            *(replace(m, entity_id="one") if m.replica < count else m for m in members)
        )

    assert code_of(held_by_one(7)) == "SINGLE_ENTITY_VALIDATORS"
    assert code_of(held_by_one(5)) == "ENTITY_HOLDS_QUORUM"
    held_by_one(4).check()
    assert held_by_one(4).entities_above_faulty_max() == ["one"]
    assert held_by_one(2).entities_above_faulty_max() == []


def test_every_field_of_the_set_is_in_its_hash() -> None:
    base = Replicas(KEYS).set
    others = [
        replace(base, chain_id="beijing"),
        replace(base, epoch=1),
        replace(base, members=base.members[:3]),
    ]
    for change in (
        {"public_key": KEYS.public_key("another")},
        {"entity_id": "another"},
        {"entity_name": "another"},
        {"replica": 9},
    ):
        member = replace(base.members[1], **change)
        others.append(replace(base, members=(base.members[0], member, *base.members[2:])))
    hashes = {replica_set.hash() for replica_set in (base, *others)}
    assert len(hashes) == len(others) + 1
